package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/archive"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Limits of a list file.
const (
	maxList  = 1 << 20 // bytes
	maxLines = 10_000
)

const listHelp = "expected SOURCE [GLOB...] [!GLOB...] [newest:N] [oldest:N] [pick:kinds], or !GLOB... for the whole file"

// ParseAll is [ParseFor] for this machine's architecture.
func ParseAll(specs []string, cache *kernel.Cache) ([]kernel.Source, error) {
	return ParseFor(runtime.GOARCH, specs, cache)
}

// ParseFor is [Parse] for several specs, of which "@FILE" stands for the lines of
// a list file, and for kernels of arch where a spec leaves that open:
//
//	# the matrix
//	gs://bucket/prefix  fedora/*  !*debug*  newest:3   # the three newest of each
//	debian:bookworm:cloud-amd64  newest:2  oldest:1
//	../local kernels
//	!*/*-rt-*                                          # from none of the sources
//
// Words stand apart by blanks, and 'quotes' or "quotes" keep one together. The
// first is a source, a relative path being relative to the file. Globs are
// those of [report.MatchKernel]. newest and oldest keep that many of each distro and
// architecture; see [Picker]. pick:kinds leaves out those that another represents,
// which only who knows the payload can tell; see [PicksKinds].
func ParseFor(arch string, specs []string, cache *kernel.Cache) ([]kernel.Source, error) {
	var list []kernel.Source
	var packages []string // which make kernels together
	for _, spec := range specs {
		if archive.IsPackages(spec) {
			packages = append(packages, spec)
			continue
		}
		file, ok := strings.CutPrefix(spec, "@")
		if !ok {
			s, err := parse(spec, arch, cache)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
			continue
		}
		more, err := readList(file, arch, cache)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	if len(packages) > 0 {
		s, err := parse(strings.Join(packages, ","), arch, cache)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// Picker is a Source that wants only some of its kernels. Which, depends on
// what else there is, so Pick is given those that can be tested at all; it
// returns what it wants of them, in the same order.
type Picker interface {
	kernel.Source
	Pick(refs []kernel.Ref) []kernel.Ref
}

// lineSource is a source with what its line asks of it.
type lineSource struct {
	kernel.Source
	listLine
	where string // "kernels.txt:3"

	filtered []string // ids that the line's globs left out of the last List
}

// listLine is a line as it was read.
type listLine struct {
	number         int
	source         string
	globs          []string
	newest, oldest int
	kinds          bool // pick:kinds
}

func readList(file, arch string, cache *kernel.Cache) ([]kernel.Source, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &kernel.UsageError{Msg: "read list of kernel sources", Err: err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err != nil {
		return nil, &kernel.UsageError{Msg: "read list of kernel sources", Err: err}
	}
	lines, err := parseList(string(b))
	if err != nil {
		return nil, &kernel.UsageError{Msg: report.Redact(fmt.Sprintf("%s:%v", bounded.OneLine(file), err))}
	}
	var list []kernel.Source
	for _, l := range lines {
		where := fmt.Sprintf("%s:%d", bounded.OneLine(file), l.number)
		s, err := parse(RelativeTo(filepath.Dir(file), l.source), arch, cache)
		if err != nil {
			return nil, at(where, err)
		}
		list = append(list, &lineSource{Source: s, listLine: l, where: where})
	}
	return list, nil
}

// at puts a place in front of an error, and keeps whose it is to mend.
func at(where string, err error) error {
	if usage := (*kernel.UsageError)(nil); errors.As(err, &usage) {
		return &kernel.UsageError{Msg: where, Err: err}
	}
	return fmt.Errorf("%s: %w", where, err)
}

// RelativeTo resolves the paths of a list file: that of a directory or an image, and
// those of a repository and of a file of keys. Other sources stay as they are.
func RelativeTo(dir, source string) string {
	local := func(address string) string {
		if scheme, _, ok := strings.Cut(address, ":"); address == "" || ok && kernel.SchemeRE.MatchString(scheme) {
			return address
		}
		return relativePath(dir, address)
	}
	source = pathOptionRE.ReplaceAllStringFunc(source, func(option string) string {
		name, value, _ := strings.Cut(option, "=")
		return name + "=" + local(value)
	})
	scheme, rest, ok := strings.Cut(source, ":")
	if !ok || !kernel.SchemeRE.MatchString(scheme) {
		return relativePath(dir, source)
	}
	if address, options, more := strings.Cut(rest, ","); scheme == "rpm" {
		if source = "rpm:" + local(address); more {
			source += "," + options
		}
	}
	return source
}

var pathOptionRE = regexp.MustCompile(`,(key|url)=[^,]+`)

func relativePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// parseList reads a list file. Its errors start with the line's number.
func parseList(text string) ([]listLine, error) {
	if len(text) > maxList {
		return nil, fmt.Errorf("1: %w", &bounded.LimitError{What: "size of the list", Limit: maxList})
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("1: the list is not UTF-8 text")
	}
	text = strings.TrimPrefix(text, "\ufeff") // as editors of another system put it in front
	var lines []listLine
	var everywhere []string
	number := 0
	for line := range strings.Lines(text) {
		if number++; number > maxLines {
			return nil, fmt.Errorf("%d: %w", number, &bounded.LimitError{What: "number of lines", Limit: maxLines})
		}
		words, err := splitWords(line)
		if err == nil && len(words) > 0 {
			l := listLine{number: number}
			if err = l.set(words); err == nil && l.source == "" {
				everywhere = append(everywhere, l.globs...)
			} else if err == nil {
				lines = append(lines, l)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", number, err)
		}
	}
	if len(lines) == 0 {
		return nil, errors.New("1: the list names no source: " + listHelp)
	}
	for i := range lines {
		lines[i].globs = append(lines[i].globs, everywhere...)
	}
	return lines, nil
}

// set takes a line's words.
func (l *listLine) set(words []string) error {
	if words[0] == "" {
		return errors.New("an empty word: " + listHelp)
	}
	if !strings.HasPrefix(words[0], "!") {
		l.source, words = words[0], words[1:]
		if strings.HasPrefix(l.source, "@") {
			return fmt.Errorf("%q: a list cannot hold another: give it to --kernels itself", l.source)
		}
	}
	for _, w := range words {
		option, value, _ := strings.Cut(w, ":")
		switch {
		case option == "newest" || option == "oldest":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || l.source == "" {
				return fmt.Errorf("%q: %s, N at least 1", w, listHelp)
			}
			number := &l.newest
			if option == "oldest" {
				number = &l.oldest
			}
			if *number != 0 {
				return fmt.Errorf("%q: the line has %s:%d already", w, option, *number)
			}
			*number = n
		case option == "pick":
			if value != "kinds" || l.source == "" {
				return fmt.Errorf("%q: want pick:kinds: %s", w, listHelp)
			}
			l.kinds = true
		case l.source == "" && !strings.HasPrefix(w, "!"):
			return fmt.Errorf("%q stands after %q: %s", w, words[0], listHelp)
		case optionRE.MatchString(w):
			// As a glob it would match nothing but a kernel of that very id,
			// which has a distro and so a slash.
			return fmt.Errorf("%q is no option%s: %s", w, kernel.Suggest(option, []string{"newest", "oldest", "pick"}), listHelp)
		default:
			if err := CheckGlobs([]string{w}); err != nil {
				return err
			}
			l.globs = append(l.globs, w)
		}
	}
	return nil
}

// optionRE is a word that looks like an option.
var optionRE = regexp.MustCompile(`^[a-zA-Z_-]+[:=][^/*?\[\]:=]*$`)

// splitWords splits a line at its blanks and takes the comment off.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	for _, r := range strings.TrimRight(line, "\r\n") {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case unicode.IsControl(r) && r != '\t':
			return nil, fmt.Errorf("control character %U", r)
		case quote == 0 && r == '#' && !inWord:
			return words, nil
		case quote == 0 && unicode.IsSpace(r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// List lists the kernels of the source that match the line's globs. A line that
// comes to nothing is an error: it would test less than its author thinks.
func (s *lineSource) List(ctx context.Context) ([]kernel.Ref, error) {
	refs, err := s.Source.List(ctx)
	if err != nil {
		return nil, at(s.where, err)
	}
	s.filtered = nil
	var match []kernel.Ref
	for _, r := range refs {
		if report.MatchKernel(s.globs, r.ID()) {
			match = append(match, r)
		} else {
			s.filtered = append(s.filtered, r.ID())
		}
	}
	if len(match) == 0 {
		return nil, kernel.Usagef("%s: none of the %d kernels of %s matches %s", s.where, len(refs), s.Source, bounded.OneLine(strings.Join(s.globs, " ")))
	}
	return match, nil
}

// Filtered returns the ids that a source holds and left out of its last List.
func Filtered(s kernel.Source) []string {
	if line, ok := s.(*lineSource); ok {
		return line.filtered
	}
	return nil
}

// Gone implements [kernel.Prober].
func (s *lineSource) Gone(ctx context.Context, refs []kernel.Ref, local bool) map[string]bool {
	if p, ok := s.Source.(kernel.Prober); ok {
		return p.Gone(ctx, refs, local)
	}
	return nil
}

// PicksKinds says whether only one of each kind of a source's kernels is wanted.
func PicksKinds(s kernel.Source) bool {
	line, ok := s.(*lineSource)
	return ok && line.kinds
}

// Pick implements [Picker].
func (s *lineSource) Pick(refs []kernel.Ref) []kernel.Ref {
	if s.newest == 0 && s.oldest == 0 {
		return refs
	}
	type group struct{ distro, arch string }
	groups := map[group][]int{}
	for i, r := range refs {
		g := group{r.Distro, r.Arch}
		groups[g] = append(groups[g], i)
	}
	keep := make([]bool, len(refs))
	for _, list := range groups {
		slices.SortStableFunc(list, func(a, b int) int { return report.CompareVersions(refs[a].Name, refs[b].Name) })
		for i, r := range list {
			keep[r] = i < s.oldest || i >= len(list)-s.newest
		}
	}
	var picked []kernel.Ref
	for i, r := range refs {
		if keep[i] {
			picked = append(picked, r)
		}
	}
	return picked
}
