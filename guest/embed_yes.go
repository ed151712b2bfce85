//go:build embed_guest

package guest

import "embed"

// The programs are made by "make programs" and are not in the repository.
//
//go:embed programs/*/*.zst
var programs embed.FS

var embedded = programs.ReadFile
