//go:build embed_guest

package guest

import (
	"embed"
	"io/fs"
)

// The programs are made by "make programs" and are not in the repository.
//
//go:embed programs
var programs embed.FS

var embedded fs.FS = programs
