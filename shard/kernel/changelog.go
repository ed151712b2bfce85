package kernel

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of a changelog. Debian's of Linux has 6 MB and 90,000 lines. A line has
// at most bufio.MaxScanTokenSize.
const (
	maxChangelog = 64 << 20 // bytes
	maxChange    = 1000     // bytes of a change
	maxChanges   = 100_000  // and versions
)

// Changes are what a distribution's changelog says of some versions.
type Changes struct {
	Versions []string // of the package, as the changelog has them
	Lines    []string // what was changed, each in one line
}

// ReadChangelog reads the changes after one version of the package up to another,
// both as Debian writes them, in the changelog that is in the kernel's package. It
// is empty for a package without one.
func (im *Image) ReadChangelog(ctx context.Context, after, upTo string) (c Changes, err error) {
	for _, a := range im.archives {
		err := a.Walk(ctx, func(name string, _ int64, r io.Reader) error {
			if ok, _ := path.Match("usr/share/doc/*/changelog*.gz", name); !ok || len(c.Versions) > 0 {
				return nil
			}
			zr, err := gzip.NewReader(r)
			if err == nil {
				c, err = readChangelog(io.LimitReader(zr, maxChangelog), after, upTo)
			}
			if err == nil && len(c.Versions) > 0 {
				err = fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.SkipAll) {
			return Changes{}, fmt.Errorf("read the changelog of %s: %w", im.ID(), err)
		}
	}
	return c, nil
}

// entryLine begins the entry of a version, as in deb-changelog(5).
var entryLine = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,100} \(([0-9][A-Za-z0-9.+~:-]{0,100})\) `)

// readChangelog reads a changelog of Debian's format.
func readChangelog(r io.Reader, after, upTo string) (c Changes, err error) {
	wanted, open := false, false // the entry is; the last change goes on
	lines := bufio.NewScanner(r)
	for lines.Scan() && len(c.Versions)+len(c.Lines) < maxChanges {
		if m := entryLine.FindStringSubmatch(lines.Text()); m != nil {
			open = false
			if wanted = report.CompareVersions(m[1], after) > 0 && report.CompareVersions(m[1], upTo) <= 0; wanted {
				c.Versions = append(c.Versions, m[1])
			}
			continue
		}
		text := strings.TrimSpace(lines.Text())
		item := strings.TrimLeft(text, "*-+ ")
		switch {
		case !wanted || item == "" || strings.HasPrefix(text, "-- ") || strings.HasPrefix(text, "["): // who made it, and when
			open = false
		case item != text || !open:
			c.Lines, open = append(c.Lines, item[:min(len(item), maxChange)]), true
		default:
			if last := &c.Lines[len(c.Lines)-1]; len(*last)+len(text) < maxChange {
				*last += " " + text
			}
		}
	}
	return c, lines.Err()
}
