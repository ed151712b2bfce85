package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// listed is a package as go list shows it.
type listed struct {
	ImportPath string
	Dir        string
	ForTest    string
	DepOnly    bool
	Module     *struct {
		Main       bool
		Dir, GoMod string
	}
	TestGoFiles, XTestGoFiles, EmbedFiles, TestEmbedFiles, XTestEmbedFiles []string
}

// noModule is what the go command says of packages that are in no module, or in
// another one.
var noModule = regexp.MustCompile(`main module|workspace modules|go\.mod file not found`)

// list returns the packages of this machine's modules that the patterns match or
// that they or their tests import.
func (b *builder) list(ctx context.Context, g group) ([]*listed, error) {
	args := append([]string{"list", "-deps", "-test", "-json=ImportPath,Dir,ForTest,DepOnly,Module,TestGoFiles,XTestGoFiles,EmbedFiles,TestEmbedFiles,XTestEmbedFiles"}, b.flags()...)
	out, err := b.run(ctx, g.dir, "the packages cannot be listed", append(append(args, "--"), g.patterns...)...)
	if bad := (*goError)(nil); errors.As(err, &bad) && noModule.MatchString(bad.said) {
		bad.doing += " (run this in a module's directory, or name one below it, as in ./probe/...)"
	}
	if err != nil {
		return nil, err
	}
	var packages []*listed
	dirs := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		err := dec.Decode(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		switch ours := p.Module != nil && p.Module.Main && p.Module.Dir != ""; {
		case p.ForTest != "": // a package once more, as a test needs it
		case ours:
			packages = append(packages, p)
			dirs[p.ImportPath] = p.Dir
		case !p.DepOnly:
			return nil, fmt.Errorf("package %s is not of a module here: run this in a checkout of its module", p.ImportPath)
		}
	}
	return slices.DeleteFunc(packages, func(p *listed) bool {
		tested, main := strings.CutSuffix(p.ImportPath, ".test")
		return main && dirs[tested] == p.Dir // the main package of a test binary
	}), nil
}
