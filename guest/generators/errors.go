package main

// failure is an error with what was being done. Packages fmt and encoding/json
// would make this binary a quarter larger, which memfd_create_exec copies and
// which starts a dozen times on an emulated processor.
type failure struct {
	doing string
	err   error
}

func (f failure) Error() string { return f.doing + ": " + f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// wrap returns nil for no error.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return failure{doing, err}
}
