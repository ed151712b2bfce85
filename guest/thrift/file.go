package thrift

import (
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// What package os does beside the system calls, such as to have the runtime watch
// a file, is more than the calls themselves when it runs for the first time.

// ReadFile reads a whole file.
func ReadFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return ReadAll(fd)
}

// ReadAll reads from a descriptor to its end.
func ReadAll(fd int) ([]byte, error) {
	var b []byte
	for {
		b = slices.Grow(b, max(4<<10, len(b)))
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
}

// Write writes all of b to a descriptor.
func Write(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		default:
			b = b[n:]
		}
	}
	return nil
}
