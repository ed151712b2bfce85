package lines

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PipeSize is how much a pipe holds that nobody reads from.
const PipeSize = 1 << 20

// Pipe makes a pipe with room for bursts, while other processes have the processor.
func Pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	// Fd would have reads block, and closing would not end them any more. The kernel
	// may refuse; the default does as well.
	if c, err := r.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, PipeSize) })
	}
	return r, w, nil
}
