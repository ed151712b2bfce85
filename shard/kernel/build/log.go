package build

import (
	"bytes"
	"io"
	"os"
	"regexp"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

const (
	maxExcerpt = 4 << 20 // bytes of a log that are looked at, from its end
	maxErrors  = 8       // lines that look like errors
	lastLines  = 8
)

var errorLine = regexp.MustCompile(`(^|[ :])([Ee]rror|FAILED|undefined reference|No such file)\b|\*\*\*`)

// excerpt picks the lines of a log from an offset on that tell what went wrong:
// the first errors, since with several jobs the last lines may be of others,
// and the last lines. No log gives none.
func excerpt(file string, from int64) []string {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil {
		from = max(from, st.Size()-maxExcerpt)
	}
	b, _ := io.ReadAll(io.NewSectionReader(f, from, maxExcerpt)) // what can be read of it
	var errs, last []string
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	tail := max(0, len(lines)-lastLines)
	for i, raw := range lines {
		line := bounded.OneLine(string(raw))
		switch {
		case line == "":
		case i >= tail:
			last = append(last, line)
		case len(errs) < maxErrors && errorLine.Match(raw):
			errs = append(errs, line)
		}
	}
	return append(errs, last...)
}
