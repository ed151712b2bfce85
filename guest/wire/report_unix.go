package wire

import "golang.org/x/sys/unix"

func setCloseOnExec(fd int) { unix.CloseOnExec(fd) }
