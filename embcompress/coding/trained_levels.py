"""Levels of the trellis, trained on normal samples by benchmarks/train_levels.py.

For each number of bits (9: half a bit) 256 float16 numbers for each column, little-endian, in base 85.
Their squared errors at unit variance:
0.5: 0.53, 1: 0.278, 2: 0.0753, 3: 0.0203, 4: 0.00555, 5: 0.00151, 6: 0.000437, 7: 0.000128.
"""

from __future__ import annotations

LEVELS_IN_BASE_85 = {
    9: (
        "#Ww=D6}SO7hBG0v)w$t0$vFeL4?2Chin^~limQ|??Kz9OnYd&*raA4qkvJ>44LD1=_c-^s95$b~b~=%`<~rZGgf$(rE4-"
        "{asVot+V7Z++F}%<@%_%pY^|+xt>bY|`Q8bLC(z?1j6u2`sg*4E#FS;T-Hn~4JmAExJeKIt#-#stAy*L-"
        "Tj<{SpTen*^dAXiD7PlTaN4ys~2{@p*T|3OW=B<n;6SUMc0zA#Q5wtWkxw>sR&AHn->9Zv=DZREkZZ;0HiaF-IdOAwEGd4WBJ-KT"
        ";BsGk*LO71R61o>T?>S|-9Jw|-#IQCok1Ra2xwybQF*pdiK)<a%fiaDpp0PbC)i~j|wYl>-"
        "hPfa+XF6fJlQL(r>bSEyc{wGysl0<Yk+&T=Wx1R>le@n-D!9)$KDqcg&$sqClC&=}lsN;uJgM0*i8>p&5Ip(3Gp4SrLp_?h@i-"
        ";8%CxX5@jL0cmNxOa?YQAIIz79&ra6eZFgsGYAF%-"
        "~(zus66S)aEoIU=!95*4iW;uDf7&U>k0XdDkSGHa;7Q7WaV=Dr%RWkIh(7C8Our{HyqB}#n;yC=cCo<)%^*Us`Z?wTRu)RM#v${G"
        "uo4IW`wLIpygSO!{Kf1Cxm^q@l4Y=qz&^ctgNjW~Y$F&eM-Z|B|IJh`Am^Smal{a;`&ARG3fUsvU#<rj~lBZfJ479s3M7)qY-Zs*"
        ">BRP_}TDYt^89bo6qPn3t$~h*uOgpf+qb*smax_1*IK1;Zz%|OXwmX`;i#b%dQnG(C*Sy?2*R>Wng*AP$bh)oOXg5x`@Vrwx;JN%"
        "bSGE#3ExBDgAv$Qe7P#;^Wi02h!#UKt{y1j3U%F8`fuzQ*HMuA`eLVcQ7rLrBYByrF!n?jXqd8Ey$T(EC|2iYQqqOZYY&4v;#X2L"
        "toU*+%Dm)6jWUjt22slZ$6}rJZIW^3-"
        "$vTv~i!0eT6TM?LN;|%{nm0qby|~{x4!XHI_&2J#gg8RHyt4{4_`B6U^g2Ac3b;!+uQjW+J~L0Uo-"
        "i!4wK*KU(zpsckGjk`JUU#sT)ICz_&W5w8M@Ipd9vv>WwG)ugt9U=$vVfnw6q~LH@Xr#TD+(^3^?Jqs5{WRAukQ9*0U%y7&=nBCA"
        "jA|x;fjsPB`+ncr`1tH9S|m@VUS^9XRW`PB^8wRlB!2VzT8i#yT;&Hzee+J~`yM=eJEbCOz@F+p*;|_c#E&K)Pu;Uba*@LAz8s&#"
        "@#dQnTJQUA<L5m@t;IZ@3LSBPd;{o4La`b32&2xVot}w7H8qOR1l<jyb-#b-5fn@wmP@q&g$J#yhIHp1IsMR=QU?"
    ),
    1: (
        "F}k)n<vC=zgSmV;w78l%BsmGY(zh8qbUpC1m@<pK-"
        "?#BPIysrS96W)wB)kYVl(jQFt~al_IyeoxY%MCj(llPYs<*j1JGEInHaNz+QN0Z{qZjACayj$3o<1?LFg;hX89Ds85WNgFv9eD-h"
        "d9-"
        "^G&!TV@U)sd!ZG>2O+L!Bw!b4X=e)Zu^Pd4Z&%OLL9Y4+~9=j1ZuD2dJg1Ean2so*_fVCAk7CDx=R5r=Ic(qYHBR(gw1i4E(%(DJ"
        "ImpALTs4;-PUp-"
        "H=DY61TM!dN<EV^zuCAkPU(Yr`F=C&3(JUWZEj5K<^mpK@?t~5NnPrbi2YPW<uvo{62?6?RzsW_Lpra6GPBDj$}?Ka!E#<F8RtiP"
        "i(dOE(inz@TO$hToUZZ<)?89pzx&AEy<PQ08p7eK2p)VpsrwL2!b7d(=-"
        "V!Smq<T1p)+di2s?YSH{C9(uRx~*fslec&}4>UZzEIyXA-nhOvFu096P(59=@Vyu^wzp|K4l_!=LopLTAHN{BY&amg9y2t%(KtN1"
        "2{?<nsyWcMUcCM^2tL-"
        "d2e@cCq`Sm4Ry=LDYOGhlRXRYo#Xo1U^|t>vUcYQJ47C_OCp{jtu{C$P1~@ai&^c(hgg7a<o;%^U=eO57`n(x66}ad*kG&r?A2y}"
        "CojPZ?"
    ),
    2: (
        "EVxj<<vevWE<N=%My(mU**2a$1-"
        "<07qdqdVxHVS13cwOP&@jBYEHLl5H@=5D47ce$AuroFg*$q*O*FZ@KfK8~*gZ|LqN^)9=Rn50EVsNn1~qBC>Mj7b-"
        "n{TRV?7zW;;c+KlR$7Nak|1fzqL2OZaz*pe7;UR>n*ssDm}9_g}>Ig^T4>Z4!ssRLOyFP`na7rNVuXsc{xTflrW9HqqvGW9Xw*ba"
        "JYdmMmTM`Holp#kh^U--LW@55Vn3X7QK}@13U7(zA^~4K`4zty}P75fVfmSAi?`V@-"
        "?qL9kUF)@i<zgIzW!PAU&JAy)`1SuQiLjM?Af=2RS>qLoPl(iMqW%-"
        "8s9g)Vc4z4mI<^oxRXBPq(ByZ$EXp>N!xUV7{v^&O7<IE4)!SgS0$8E5Mw)i96`5>pM%eeKn!Hs=n<o7r8e)i8zV5P(RA63OJ#pv"
        "bcCY=|F`z7QAe+sJ8$-"
        "XD?R2>^7%9nzakPs5}?8&b>l4?xY4lF1pS+a5C9D`?kux(5?x(EWoul8aNESTRt?k$GDL(P`=qb0=a`aS}&hJRlozSvO2lDM6jSg"
        "7`zub3^hBvdbPwoI=f=Eh&)&|(L4h*pR{AW-8=!ki8ed6<GHG-a5_Q255C{I&^nteLcMJ=9y}YkFtsu@n!30="
    ),
    3: (
        "(zraor9ED}nm{5u(=~Xld^~JF*0CQmR5|3h2fQx7(X|LWL%vTN#kq65DZu76akLmbdAk5P(mn$<b+#R)RK4CiZ#TaxLct@nx<324"
        "KqoOh-87iOIJu>~r?m?@1-p>FCYbQHUOFs6b~PD3ow*XgK|3TcF|;f`r#CUZazLNBUpRQOcD-FO#k)K_B|q)7*1NtuR<D3LrZxSz"
        "o;(%5Qn{NrPcOQ_f4nucv^oAYV!j`^x}B6f^1Ea|?Xri#)VvHb_&CG9tvrvpUoi7GZ@ucaAU~Zvx4)u6pgF_0zOxX!uQuN+1VFVs"
        "R5eb$ZM7=E13lTCRXTRM7B?llU@ELRE<8m(3PIYni?ukpJvw5(M!YPnLcw@6Gc=m9EkGbVO}*(o5;?89I>7$2fVllSc)NwYhdtag"
        "I6gZzlRHDWr@t4wzpV7U7&u?MnLRl=DlxscxV@6GjzaD;nK$RYZ#}&_c(~)OJUy~MP%L}9)jGqrAigR%sV$p8)U=H@v^_&PJh@B0"
        "!MV4kl)%$I0XN9LlslTdIiO&<guJXi-L$ARmOQ{Y{=G%0cQ_6-"
        "+_z0YTDoOCzB?VSIl8tzA1%wac{z4A=(O=Ulej6onmqb6uq4Aj#lFS6SUW1cgTNlO^(F|poV@tCi#_SF2sY$76D>2h"
    ),
    4: (
        "voPVh<~>HX_duXLk2pZEQaeXK?6@{I(K)=lgTS@E|FgtB@V|znv9_JQ`oQTq9J$y$b-"
        "Z3UwLbhi$GR3Y1H6Sioj1ZX9>01m&_CX}+&COMS+!2Xi@4jaTD=fETen)geY6j`c{x};VY~4@LBPAdK|I8%Ub+!JS~N+$c0n62H8"
        "U|f8Nlc}#=IRk<UeV+9lJ|Dim2{9<FqKSmp3ZE4Z8ZXOsu-V5x$!-0-"
        ")JDJG~0HBsEGoI=rqu+_@CM@4W0dn>@z7<UJ?6FED2|dbbX<7eK>09>JVJ207fdyfqrVZMYJ!FG9CFJG2M9-"
        "z_J;D?MzvD?mHC^fZ#U!8{~9)jH2UB0=pDOTX~B$33CIy}i}DyTKbdf;!wZF*%|)Zn_maQaqu(Z^0cb60sOPWW1cef<E!Ld_Ac-"
        "(?2!4P{OCV!K?naA~p}bF*LF}$}WtwgTBl+H$z&l+9g50w=~x|Ou5&z`8+*7_ctuN4m^mrv%jq`WG1CRp}0FS8#v)L6t+pgo4g0G"
        "9lv8gcC*mEi8{W!s;(!!&bwDV1GHs0c0l?y7`{0(KsvcBptdeQBDrupH$42Z#jQ*}zAX_m9X~8R8o0qYA-"
        "bx(k~)kwX11h2KD|7-KRaN&B)&zrn>Ad!z`8KCRX}PpRybWR?5U=+"
    ),
    5: (
        "JvWQIsy#5U;l8vy8#yO6le%@lg|;KLp|}Du%sLA|Y(9IrH$2TVQ9l{8ioLZhtUC)qnxwS1$Gc}ZKsNO`Z#_f3a6rYo*(?q;^tofa"
        "j5&5X$G)bxZ8uUoVG_E-axoRHhC#43Ji-LA4!#>dhB!jOGCn@Qy|n1Mi9E=*5xmkg60{+|)H{f`3ca^DySTi-"
        "|2L1h{jb_UR4zY0pS;)~`M<2afHGS)*TH1E?K~^Hl0O>3;<bFf#5v144>X#(Ks&*|1U5Cc^1cx$O+3!RV!+Wb+PPT01-"
        "Lx1f;t<#Og$kvUO4<b={@DVO0@00tvO(<U%vdfaJ*i-8aY}$O}rLBAUYmAI5-"
        "A3UcbV$g~9nf%e`|oGq%dCC$U5^Lb_QyRx~|7ojwM*SG#jOA-#<(*gOQL=eV@92Rq(7sV;ClJf!Zl2fHr5%DFbS#=H=-"
        "Aw9W0K0zY6`M2UW7_eVBL_RS(9x^7t(m&=tj5LlwjlU<nyF)xVrnMxuJ-"
        "#nJ#yvbh?6P^iH$v0A8#bIbQ9Ow%Z8Xd~JFMb3&b!6B^)U6hn!t>>*Ey{}GP%$?yFM_u$3eV2do_u%#l0vxOSi{D>8+?TPdIzHx;"
        "$09w?IBQ^*d8QIlYCu%|7jthO<UD1;BPaGc7c_P``w}#=POcSh-%c"
    ),
    6: (
        "n!{Scd%-KgoxmBuYrl2A@4h3xzP&cReZ4un-Ms3%hrCj|v%1c?9lGAQMY&J7akr(kgtlq5$+E|=BdrFbJt)d8@-"
        "(J0xG?H7F*pl0AUQubyEv0MD>}hCNju~_r931(JUnkb1U{ubJwByA7eA0cK0t#&B|&aMG(ycnQpDK74#DieSHS1LD!`(@K)=SmC%"
        ")XhQoRVhAH1%-"
        "tGjNz61#1>Z@Kijt+;}>ceWt7ezg^{L$utlb)ifusxo=2t}gp9B{f_$DK=_2uQ%H`RXOK5*E)bZc{*@B7(C283_V9Zx;<?^-"
        "#%17-"
        "9HdOZ9p+Voj}Av_(3;A9K#mE(7<oN2f%v21;4w#4!&u=G`;4$w7qk^p1e)GK)dR@&AH#Ya=Kf&^tbJ}dAJL=&9wWqe6OUl#<BIPg"
        "e@r}3^A@Wlr=UsV>2W-wKiKg**E<-"
        "qd7l1+&eQnOgx!9P(7hN?>rwq;XP44vpyw1r9W6e%RmP~ctT=CvcjjqQNgpofxtq*#=j=Np1$P0Qoe}22fewxW4uheAiTA@ue*V{"
        "{J4L(F1q@*3b_BZlCx>FO0^fVldyKKh^W~yp(z_LG&E{8*fs$;lQ>m5-"
        "8o7+Av+K}gFM4Jr8`qR$~*@>b3N!if<Em&WIx<L6hO8>>p)0BnL)Ng"
    ),
    7: (
        "D#S^{?!s)s1j4VuXu%D^@4%zLcEC))6~F<&rN3vtEWZoCwZ7E8fWAt;|Gmh)n7wViL%kWj@Vw5ve7vQ+QM@I*_q*%5th;TyCA*`#"
        "Rk{VbaJjg-B)P`8aJVhF(YIu`inipo{<Uzm>$GRI$+O(D#jwh;ZLj~V-"
        "=eXpKqX5mGcBhtbu$w&E;1A|K{T;6R5c|w$u>JT1vtSsNH~Bv$2bl-RXLtH=Q%Mtk2(T7U^}8a7(DMgWjsDSuRM)B**yI`Cp}#~q"
        "dnO@2tGqTW<Hia>^{vtCO=_6q(22fD?n2~Xh4!c!9estN<nKu*Fgb7m_ivt$wPTWs>HOzr@}YF*};gxNWm$=)xf>Ljlf~RI>05s<"
        "-ftdfxkq*?!KG8WWE=^Grs4&y}gyaYrR0d7rpMhy1b3NIlN)K5xmd4aJwVB$+~*F?zuC%qPbnU=C~BOq_}RlDY(nGCAV+3ZMEgKX"
        "|(CIsItein6Z|yWvvgdhN|MEQ7WAy-!3gJbufD}e=!L(sx%ih-!+;wWH!_`dp9RIemKTB4>?yko;l_@Fgj~G-"
        "8!>6C_897$vYN2K0IbTk37OW_dFpzMm>!^b3MB~<vkQWH$HYgu|5euM?Zu==|99j7eGBgeL$)}+CUFMEJ2Jxu|X|DT|&}AV?!Q9"
    ),
}
