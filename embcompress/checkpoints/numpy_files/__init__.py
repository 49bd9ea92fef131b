"""Files of NumPy: .npy and .npz."""
