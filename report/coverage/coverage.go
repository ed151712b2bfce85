// Package coverage makes one Go coverage profile of those of all kernels, and
// finds what only some of them cover. It knows no report format.
package coverage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"golang.org/x/tools/cover"

	"github.com/elastic/bpf-kernel-check/report"
)

// Name is the merged profile's file name, and that of each kernel's among its
// collected files.
const Name = "coverage.out"

// Limits of profiles, which guests write.
const (
	maxProfile = 64 << 20   // bytes of one
	maxBlocks  = 4_000_000  // of all
	maxMarks   = 50_000_000 // blocks times kernels
	maxNumber  = 1_000_000  // lines, columns, and statements of a block
	maxName    = 400        // bytes of a file's name
	maxPlaces  = 100
	maxNamed   = 10
)

// Merge merges the profiles of kernels, whose files are in fsys. A kernel that
// failed counts with what it wrote. Without a profile, or a kernel that should
// have one, both results are nil.
func Merge(fsys fs.FS, kernels []report.Result) (*report.Coverage, []byte) {
	m := merger{blocks: map[block]*count{}}
	asked := false
	c := &report.Coverage{Of: len(kernels)}
	for _, k := range kernels {
		file := "results/" + k.ID + "/files/" + Name
		asked = asked || slices.ContainsFunc(k.Problems, func(p string) bool { return strings.HasPrefix(p, "coverage: ") })
		if !slices.Contains(k.Files, file) {
			continue
		}
		asked = true
		b, err := read(fsys, file)
		if err == nil {
			err = m.add(k.ID, b)
		}
		if err != nil && len(c.Problems) < maxPlaces {
			c.Problems = append(c.Problems, report.OneLine(fmt.Sprintf("the profile of %s is left out: %v", k.ID, err), 500))
		}
	}
	if !asked {
		return nil, nil
	}
	c.Kernels = len(m.kernels)
	if c.Kernels == 0 {
		return c, nil
	}
	return c, m.result(c)
}

func read(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err == nil && len(b) > maxProfile {
		err = fmt.Errorf("it has more than %d MiB", maxProfile>>20)
	}
	return b, err
}

// block is a part of a file.
type block struct {
	file                              string
	startLine, startCol, line, column int
}

func (b block) compare(c block) int {
	return cmp.Or(strings.Compare(b.file, c.file), cmp.Compare(b.startLine, c.startLine), cmp.Compare(b.startCol, c.startCol), cmp.Compare(b.line, c.line), cmp.Compare(b.column, c.column))
}

// count is what is known of a block.
type count struct {
	statements int
	runs       int
	on         []uint64 // a bit for each kernel that covers it
}

type merger struct {
	mode    string
	kernels []string
	blocks  map[block]*count
	marks   int
}

// add adds a kernel's profile, whole or not at all.
func (m *merger) add(kernel string, b []byte) error {
	profiles, err := cover.ParseProfilesFromReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	if len(profiles) == 0 {
		return errors.New("it is empty")
	}
	blocks := 0
	for _, p := range profiles {
		switch {
		case p.Mode != "set" && p.Mode != "count" && p.Mode != "atomic":
			return fmt.Errorf("its mode is %.50q: want set, count or atomic", p.Mode)
		case m.mode != "" && p.Mode != m.mode:
			return fmt.Errorf("its mode is %s, and that of others is %s: build all with one -covermode", p.Mode, m.mode)
		case len(p.FileName) > maxName || report.OneLine(p.FileName, maxName) != p.FileName:
			return fmt.Errorf("the file's name %.100q is none", p.FileName)
		}
		for _, b := range p.Blocks {
			if max(b.StartLine, b.StartCol, b.EndLine, b.EndCol, b.NumStmt) > maxNumber {
				return fmt.Errorf("%s: a block that ends at %d.%d and has %d statements is none", p.FileName, b.EndLine, b.EndCol, b.NumStmt)
			}
			if old := m.blocks[key(p, b)]; old != nil && old.statements != b.NumStmt {
				return fmt.Errorf("%s:%d has %d statements, and %d on others: it is another build", p.FileName, b.StartLine, b.NumStmt, old.statements)
			}
		}
		blocks += len(p.Blocks)
	}
	if m.marks += blocks; len(m.blocks)+blocks > maxBlocks || m.marks > maxMarks {
		return errors.New("there is no room for it: all profiles together are too large")
	}
	at := len(m.kernels)
	m.kernels, m.mode = append(m.kernels, kernel), profiles[0].Mode
	for _, p := range profiles {
		for _, b := range p.Blocks {
			c := m.blocks[key(p, b)]
			if c == nil {
				c = &count{statements: b.NumStmt}
				m.blocks[key(p, b)] = c
			}
			if b.Count == 0 {
				continue
			}
			for len(c.on) <= at/64 {
				c.on = append(c.on, 0)
			}
			c.on[at/64] |= 1 << (at % 64)
			switch {
			case m.mode == "set":
				c.runs = 1
			case b.Count > math.MaxInt32 || c.runs > math.MaxInt32-b.Count:
				c.runs = math.MaxInt32
			default:
				c.runs += b.Count
			}
		}
	}
	return nil
}

func key(p *cover.Profile, b cover.ProfileBlock) block {
	return block{p.FileName, b.StartLine, b.StartCol, b.EndLine, b.EndCol}
}

// result writes the merged profile, and fills c.
func (m *merger) result(c *report.Coverage) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "mode: %s\n", m.mode)
	type place struct {
		file        string
		first, last int
		on          []uint64
		statements  int
	}
	var places []place
	next := false // the block before is the last of places
	for _, k := range slices.SortedFunc(maps.Keys(m.blocks), block.compare) {
		n := m.blocks[k]
		fmt.Fprintf(&b, "%s:%d.%d,%d.%d %d %d\n", k.file, k.startLine, k.startCol, k.line, k.column, n.statements, n.runs)
		c.Statements += n.statements
		kernels := ones(n.on)
		if kernels > 0 {
			c.Covered += n.statements
		}
		if kernels == 0 || kernels == len(m.kernels) || n.statements == 0 {
			next = next && n.statements == 0
			continue
		}
		c.Some += n.statements
		if last := len(places) - 1; next && places[last].file == k.file && slices.Equal(places[last].on, n.on) {
			places[last].last = max(places[last].last, k.line)
			places[last].statements += n.statements
		} else {
			places = append(places, place{k.file, k.startLine, k.line, n.on, n.statements})
		}
		next = true
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(b.statements, a.statements) })
	for _, p := range places[:min(len(places), maxPlaces)] {
		at := fmt.Sprintf("%s:%d", p.file, p.first)
		if p.last > p.first {
			at += fmt.Sprintf("-%d", p.last)
		}
		r := report.CoveragePlace{At: at, Statements: p.statements}
		n := ones(p.on)
		if n <= len(m.kernels)/2 {
			r.On, r.More = m.named(p.on, true)
		} else {
			r.Not, r.More = m.named(p.on, false)
		}
		c.Places = append(c.Places, r)
	}
	return b.Bytes()
}

func ones(set []uint64) (n int) {
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	return n
}

// named names kernels that are in a set, or are not, and says how many more are.
func (m *merger) named(set []uint64, in bool) (names []string, more int) {
	for i, k := range m.kernels {
		switch is := i/64 < len(set) && set[i/64]>>(i%64)&1 == 1; {
		case is != in:
		case len(names) == maxNamed:
			more++
		default:
			names = append(names, k)
		}
	}
	return names, more
}
