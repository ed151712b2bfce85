package kernel

import (
	"errors"
	"fmt"
)

// UsageError says that the user asked for something that cannot be: a spec
// that does not parse, an unknown flavour, a source that is empty or cannot be
// read, a file that is no kernel. It maps to exit code 2; every other error of
// this package is infrastructure.
type UsageError struct {
	Msg string // one line; says what was expected
	Err error  // cause, may be nil
}

func (e *UsageError) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

func (e *UsageError) Unwrap() error { return e.Err }

// Usagef makes a *UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Msg: fmt.Sprintf(format, args...)}
}

// BadKernelError says that this one kernel of a source cannot be used: its
// archive is broken, holds no kernel, or has a name that is not safe to use.
type BadKernelError struct {
	ID  string
	Err error
}

func (e *BadKernelError) Error() string { return "kernel " + e.ID + ": " + e.Err.Error() }
func (e *BadKernelError) Unwrap() error { return e.Err }

// OpenError says which kernel could not be opened, where err does not.
func OpenError(ref Ref, err error) error {
	if bad := (*BadKernelError)(nil); errors.As(err, &bad) {
		return err
	}
	return fmt.Errorf("open kernel %s: %w", ref.ID(), err)
}

// ErrSignature says that a list or a package is not signed by a key of the
// keyring.
var ErrSignature = errors.New("the mirror's signature is not valid")

// DigestError says that bytes are not those that a Ref pins.
type DigestError struct {
	What      string // the file or package
	Want, Got string // "sha256:<hex>"
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has digest %s, not %s as listed", e.What, e.Got, e.Want)
}
