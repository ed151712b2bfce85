//go:build !embed_guest

package guest

// embedded is nil: this build makes the guest's programs when they are needed.
var embedded func(name string) ([]byte, error)
