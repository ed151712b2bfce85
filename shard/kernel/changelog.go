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

// Limits of a changelog. Debian's of Linux has 6 MB and 90,000 lines.
const (
	maxChangelog = 64 << 20 // bytes
	maxChange    = 1000     // bytes of a change
	maxChanges   = 100_000
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
			base := path.Base(name)
			if !strings.HasPrefix(name, "usr/share/doc/") || base != "changelog.gz" && base != "changelog.Debian.gz" {
				return nil
			}
			zr, err := gzip.NewReader(r)
			if err == nil {
				c, err = readChangelog(io.LimitReader(zr, maxChangelog), after, upTo)
			}
			if err == nil {
				err = fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.SkipAll) {
			return Changes{}, fmt.Errorf("read the changelog of %s: %w", im.ID(), err)
		}
		if len(c.Versions) > 0 {
			break
		}
	}
	return c, nil
}

// entryLine begins the entry of a version, as in deb-changelog(5).
var entryLine = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,100} \(([0-9][A-Za-z0-9.+~:-]{0,100})\) `)

// readChangelog reads a changelog of Debian's format.
func readChangelog(r io.Reader, after, upTo string) (c Changes, err error) {
	lines := bufio.NewReader(r)
	wanted, open := false, false // the entry is; the last line goes on
	for {
		line, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, err
		}
		for rest := more; rest; { // longer than anyone writes: its beginning does
			if _, rest, err = lines.ReadLine(); err != nil {
				break
			}
		}
		text := strings.TrimSpace(string(line))
		if m := entryLine.FindStringSubmatch(string(line)); m != nil {
			v := m[1]
			wanted, open = report.CompareVersions(v, after) > 0 && report.CompareVersions(v, upTo) <= 0, false
			if wanted {
				c.Versions = append(c.Versions, v)
			}
			continue
		}
		item := strings.TrimLeft(text, "*-+ ")
		switch starts := item != text; {
		case !wanted || len(c.Lines) == maxChanges || strings.HasPrefix(text, "-- "):
			open = false
		case text == "" || strings.HasPrefix(text, "["): // a paragraph's end, and whose changes follow
			open = false
		case starts || !open:
			c.Lines, open = append(c.Lines, item[:min(len(item), maxChange)]), true
		default:
			if last := &c.Lines[len(c.Lines)-1]; len(*last)+len(text) < maxChange {
				*last += " " + text
			}
		}
	}
}
