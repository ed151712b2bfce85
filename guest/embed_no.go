//go:build !embed_guest

package guest

import "io/fs"

// embedded is nil: this build makes the guest's programs when they are needed.
var embedded fs.FS
