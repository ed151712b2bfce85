package build

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Patch is a file with one or more changes, as diff, git format-patch or a
// mailing list's archive write them.
type Patch struct {
	Name string
	Data []byte
}

const (
	maxPatch   = 64 << 20 // bytes
	maxPatches = 10_000
)

// mailCoded is what a mail has that is not sent as it is.
var mailCoded = regexp.MustCompile(`(?im)^content-transfer-encoding: *(quoted-printable|base64)`)

// ReadPatches reads files, and those of directories by name, letters that only
// introduce a series left out. An error is a *UsageError.
func ReadPatches(paths []string) ([]Patch, error) {
	var out []Patch
	for _, path := range paths {
		files := []string{path}
		st, err := os.Stat(path)
		if err != nil {
			return nil, usagef("patch: %v", err)
		}
		if st.IsDir() {
			files = nil
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, usagef("patch: %v", err)
			}
			for _, e := range entries {
				switch filepath.Ext(e.Name()) {
				case ".patch", ".diff", ".mbox", ".mbx":
					if !strings.HasSuffix(e.Name(), "cover-letter.patch") {
						files = append(files, filepath.Join(path, e.Name()))
					}
				}
			}
		}
		if len(files) == 0 || len(files)+len(out) > maxPatches {
			return nil, usagef("patch: %s holds %d: want 1 to %d files that end with .patch, .diff or .mbox", path, len(files), maxPatches)
		}
		for _, file := range files {
			st, err := os.Stat(file)
			if err == nil && (!st.Mode().IsRegular() || st.Size() > maxPatch) {
				return nil, usagef("patch: %s is no file of at most %d MiB", file, maxPatch>>20)
			}
			data, rerr := os.ReadFile(file)
			if err = cmp.Or(err, rerr); err != nil {
				return nil, usagef("patch: %v", err)
			}
			if mailCoded.Match(data) {
				return nil, usagef("patch: %s is a mail in another encoding: run it through git mailinfo or b4", file)
			}
			out = append(out, Patch{filepath.Base(file), data})
		}
	}
	return out, nil
}

// digest is of all patches, in order.
func digest(patches []Patch) string {
	h := sha256.New()
	for _, p := range patches {
		fmt.Fprintf(h, "%d\n%s", len(p.Data), p.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

var patchFailed = regexp.MustCompile(`FAILED|malformed|garbage|can't find|does not exist|already exists|not supported|No file to patch|Ignoring|skipped`)

// apply changes the unpacked tree. A hunk may have moved, but must fit.
func apply(ctx context.Context, dir string, patches []Patch) error {
	for _, p := range patches {
		cmd := exec.CommandContext(ctx, "patch", "--strip=1", "--force", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-", "--directory="+dir)
		cmd.Env = environ()
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.Data), &out, &out
		err := runGroup(ctx, cmd)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			continue
		}
		file, why := "", ""
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSpace(line)
			if patchFailed.MatchString(line) {
				why = line
				break
			}
			if _, name, ok := strings.Cut(line, "patching file "); ok {
				file = name + ": "
			}
		}
		return fmt.Errorf("patch %s does not apply: %s", p.Name, bounded.OneLine(file+cmp.Or(why, err.Error())))
	}
	return nil
}
