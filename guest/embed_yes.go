//go:build embed_guest

package guest

import _ "embed"

// The programs are made by "make programs" and are not in the repository. As
// they stand here they are read from this program's file when they are used; a
// file system would copy them first.
var (
	//go:embed programs/amd64/init
	amd64Init []byte
	//go:embed programs/amd64/generators
	amd64Generators []byte
	//go:embed programs/amd64/tracer
	amd64Tracer []byte
	//go:embed programs/amd64/loader
	amd64Loader []byte
	//go:embed programs/amd64/shell
	amd64Shell []byte
	//go:embed programs/arm64/init
	arm64Init []byte
	//go:embed programs/arm64/generators
	arm64Generators []byte
	//go:embed programs/arm64/tracer
	arm64Tracer []byte
	//go:embed programs/arm64/loader
	arm64Loader []byte
	//go:embed programs/arm64/shell
	arm64Shell []byte
)

var embedded = map[string][]byte{
	"amd64/" + Init:       amd64Init,
	"amd64/" + Generators: amd64Generators,
	"amd64/" + Tracer:     amd64Tracer,
	"amd64/" + Loader:     amd64Loader,
	"amd64/" + Shell:      amd64Shell,
	"arm64/" + Init:       arm64Init,
	"arm64/" + Generators: arm64Generators,
	"arm64/" + Tracer:     arm64Tracer,
	"arm64/" + Loader:     arm64Loader,
	"arm64/" + Shell:      arm64Shell,
}
