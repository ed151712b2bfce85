#include "textflag.h"

// func outw(port, v uint16)
TEXT ·outw(SB), NOSPLIT, $0-4
	MOVW port+0(FP), DX
	MOVW v+2(FP), AX
	OUTW
	RET

// func outl(port uint16, v uint32)
TEXT ·outl(SB), NOSPLIT, $0-8
	MOVW port+0(FP), DX
	MOVL v+4(FP), AX
	OUTL
	RET

// func inb(port uint16) byte
TEXT ·inb(SB), NOSPLIT, $0-9
	MOVW port+0(FP), DX
	XORL AX, AX
	INB
	MOVB AX, ret+8(FP)
	RET

// func awaitFiles(before uint32, every *unix.Timespec) (count uint32)
TEXT ·awaitFiles(SB), NOSPLIT, $0-20
again:
	MOVQ every+8(FP), DI
	XORL SI, SI
	MOVL $35, AX // nanosleep
	SYSCALL
	MOVW $0x510, DX // portSelect
	MOVL $0x19, AX // keyDirectory
	OUTW
	MOVW $0x511, DX // portData
	XORL BX, BX
	MOVL $4, R8
byte:
	XORL AX, AX
	INB
	SHLL $8, BX
	ORL AX, BX
	DECL R8
	JNZ byte
	CMPL BX, before+0(FP)
	JEQ again
	MOVL BX, count+16(FP)
	RET
