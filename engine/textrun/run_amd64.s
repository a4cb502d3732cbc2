#include "textflag.h"

DATA quote<>+0(SB)/1, $0x22
GLOBL quote<>(SB), RODATA, $1
DATA backslash<>+0(SB)/1, $0x5c
GLOBL backslash<>(SB), RODATA, $1
DATA lastControl<>+0(SB)/1, $0x1f
GLOBL lastControl<>(SB), RODATA, $1

// func run(p *byte, n int) (passed, wide int)
TEXT ·run(SB), NOSPLIT, $0-32
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), DI
	XORQ AX, AX // passed
	XORQ DX, DX // wide
	VPBROADCASTB quote<>(SB), Y4
	VPBROADCASTB backslash<>(SB), Y5
	VPBROADCASTB lastControl<>(SB), Y6

next:
	LEAQ 32(AX), BX
	CMPQ BX, DI
	JHI  end
	VMOVDQU (SI)(AX*1), Y0
	VPCMPEQB Y4, Y0, Y1
	VPCMPEQB Y5, Y0, Y2
	VPMINUB Y6, Y0, Y3 // itself, if it is no more than the last control character
	VPCMPEQB Y3, Y0, Y3
	VPOR Y1, Y2, Y1
	VPOR Y1, Y3, Y1
	VPMOVMSKB Y1, R8
	VPMOVMSKB Y0, R9 // the highest bits
	TESTL R8, R8
	JNZ  stop
	POPCNTL R9, R9
	ADDQ R9, DX
	MOVQ BX, AX
	JMP  next

stop:
	BSFL R8, CX // the first
	MOVL $1, R10
	SHLL CX, R10
	DECL R10
	ANDL R10, R9
	POPCNTL R9, R9
	ADDQ R9, DX
	ADDQ CX, AX

end:
	VZEROUPPER
	MOVQ AX, passed+16(FP)
	MOVQ DX, wide+24(FP)
	RET
