//go:build !embed_guest

package guest

// embedded is nil: this build makes the guest's programs when they are needed.
var embedded map[string][]byte
