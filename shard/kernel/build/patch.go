package build

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Patch is a file with one or more changes, as diff, git format-patch or the
// archive of a mailing list writes them.
type Patch struct {
	Name string
	Data []byte
}

// ReadPatches reads files, and a directory's .patch files by name, without the
// letter that introduces a series. An error is a *UsageError.
func ReadPatches(paths []string) ([]Patch, error) {
	var out []Patch
	for _, path := range paths {
		files := []string{path}
		if entries, err := os.ReadDir(path); err == nil {
			files = nil
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".patch") && !strings.HasSuffix(e.Name(), "cover-letter.patch") {
					files = append(files, filepath.Join(path, e.Name()))
				}
			}
			if len(files) == 0 {
				return nil, usagef("patch: %s holds no file that ends with .patch", path)
			}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, usagef("patch: %v", err)
			}
			out = append(out, Patch{filepath.Base(file), data})
		}
	}
	return out, nil
}

// apply changes the unpacked tree. A hunk may have moved, but must fit.
func apply(ctx context.Context, dir string, patches []Patch) error {
	for _, p := range patches {
		if err := p.git(ctx, dir, "--whitespace=nowarn"); err != nil {
			return fmt.Errorf("patch %s does not apply: %w", p.Name, err)
		}
	}
	return nil
}

// checkPatches returns a *UsageError for a file that is no patch.
func (b *Builder) checkPatches(ctx context.Context) error {
	for _, p := range b.Patches {
		switch err := p.git(ctx, b.Scratch, "--numstat"); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return usagef("patch %s is none that git reads: %v", p.Name, err)
		}
	}
	return nil
}

// git runs git apply in dir.
func (p Patch) git(ctx context.Context, dir, option string) error {
	cmd := exec.CommandContext(ctx, "git", "apply", option, "-")
	// In a repository, git would leave out files that are not in it.
	cmd.Dir, cmd.Env = dir, []string{"GIT_CEILING_DIRECTORIES=" + filepath.Dir(dir)}
	cmd.Stdin = bytes.NewReader(p.Data)
	_, err := output(ctx, cmd)
	return err
}
