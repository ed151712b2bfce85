package kernel

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// maxOrder bounds modules.order, in bytes; a distribution's has 250 kB.
const maxOrder = 8 << 20

// EachModule gives all modules that the kernel came with to fn, decompressed,
// which must not keep them. It reports whether they are all that were built:
// packages of some distributions split them, and modules.order names every one.
// It takes one pass over the archives, some seconds.
func (im *Image) EachModule(ctx context.Context, fn func(m Module) error) (all bool, err error) {
	order := ""
	have := map[string]bool{}
	err = im.ReadModules(ctx,
		func(file string) bool { return isModule(file) || file == "modules.order" },
		func(file string, _ int64, r io.Reader) error {
			if file == "modules.order" {
				b, err := io.ReadAll(io.LimitReader(r, maxOrder))
				order = string(b)
				return err
			}
			name := moduleName(file)
			if have[name] {
				return nil
			}
			data, err := readModule(ctx, file, r)
			if err != nil {
				return err
			}
			have[name] = true
			return fn(Module{name, data})
		})
	if err != nil {
		return false, fmt.Errorf("read the modules of %s: %w", im.ID(), err)
	}
	all = order != ""
	for line := range strings.Lines(order) {
		if line = strings.TrimSpace(line); line != "" && !have[moduleName(line)] {
			all = false
		}
	}
	return all, nil
}
