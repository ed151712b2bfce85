package guest

import (
	"embed"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// LibbpfPath is where payloads have the loader on libbpf.
const LibbpfPath = "/libbpf-loader"

// The loader on libbpf is committed, so that building needs no compiler of C. To
// make it again on Debian, with what it names: go generate.
//
//go:generate sh libbpf/build
//go:embed libbpf/*.zst
var libbpfLoaders embed.FS

func libbpfLoader(arch string) ([]byte, error) {
	b, err := libbpfLoaders.ReadFile("libbpf/" + arch + ".zst")
	if err != nil {
		return nil, fmt.Errorf("guest program %s for %s is not in this build: %w", Libbpf, arch, err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(b, nil)
}
