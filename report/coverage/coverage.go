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
	"math/big"
	"path"
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
	maxProfile = 64 << 20 // bytes of one, and of the merged one
	maxMarks   = 1 << 30  // blocks times kernels
	maxNumber  = 1e6      // lines, columns, and statements of a block
	maxName    = 400      // bytes of a file's name
	maxLine    = 50       // bytes of a merged block but for its file's name
	maxPlaces  = 100
)

// Merge merges the profiles of kernels, whose files are in fsys. A kernel that
// failed counts with what it wrote. Without a profile, or a kernel that should
// have one, both results are nil.
func Merge(fsys fs.FS, kernels []report.Result) (*report.Coverage, []byte) {
	m := merger{blocks: map[block]*count{}}
	asked := false
	c := &report.Coverage{Of: len(kernels)}
	for _, k := range kernels {
		asked = asked || slices.ContainsFunc(k.Problems, func(p string) bool { return strings.Contains(p, "coverage: the payload wrote no profile") })
		for _, file := range profiles(k) {
			asked = true
			if err := m.add(k.ID, fsys, file); err != nil && len(c.Problems) < maxPlaces {
				c.Problems = append(c.Problems, report.OneLine(fmt.Sprintf("the profile of %s is left out: %v", k.ID, err), 500))
			}
		}
	}
	if !asked {
		return nil, nil
	}
	if c.Kernels = len(m.kernels); c.Kernels == 0 {
		return c, nil
	}
	return c, m.result(c)
}

// profiles are the files of a kernel's profile, or of those of its programs, each
// of which has a directory of its own.
func profiles(k report.Result) (files []string) {
	for _, f := range k.Files {
		dir, ok := strings.CutPrefix(path.Dir(f), "results/"+k.ID+"/files")
		if ok && path.Base(f) == Name && (dir == "" || len(k.Programs) > 0 && strings.Count(dir, "/") == 1) {
			files = append(files, f)
		}
	}
	return files
}

// block is a part of a file, without its numbers of statements and runs.
type block struct {
	file string
	cover.ProfileBlock
}

func key(p *cover.Profile, b cover.ProfileBlock) block {
	b.NumStmt, b.Count = 0, 0
	return block{p.FileName, b}
}

func (b block) compare(c block) int {
	return cmp.Or(strings.Compare(b.file, c.file), cmp.Compare(b.StartLine, c.StartLine), cmp.Compare(b.StartCol, c.StartCol), cmp.Compare(b.EndLine, c.EndLine), cmp.Compare(b.EndCol, c.EndCol))
}

// count is what is known of a block.
type count struct {
	statements, runs int
	kernels          int     // that cover it
	on               big.Int // a bit for each of them
}

type merger struct {
	mode    string
	kernels []string
	blocks  map[block]*count
	size    int // bytes of the merged profile, at most
}

// add adds a kernel's profile, whole or not at all.
func (m *merger) add(kernel string, fsys fs.FS, file string) error {
	f, err := fsys.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() > maxProfile:
		return fmt.Errorf("it has more than %d MiB", maxProfile>>20)
	}
	profiles, err := cover.ParseProfilesFromReader(io.LimitReader(f, maxProfile))
	switch {
	case err != nil:
		return err
	case len(profiles) == 0:
		return errors.New("it is empty")
	}
	mode, size, blocks := profiles[0].Mode, m.size, len(m.blocks)
	switch {
	case mode != "set" && mode != "count" && mode != "atomic":
		return fmt.Errorf("its mode is %.50q: want set, count or atomic", mode)
	case m.mode != "" && mode != m.mode:
		return fmt.Errorf("its mode is %s, and that of others is %s: build all with one -covermode", mode, m.mode)
	}
	for _, p := range profiles {
		if report.OneLine(p.FileName, maxName) != p.FileName {
			return fmt.Errorf("the file's name %.100q is none", p.FileName)
		}
		for _, b := range p.Blocks {
			if max(b.StartLine, b.StartCol, b.EndLine, b.EndCol, b.NumStmt) > maxNumber {
				return fmt.Errorf("%s: a block that ends at %d.%d and has %d statements is none", p.FileName, b.EndLine, b.EndCol, b.NumStmt)
			}
			if old := m.blocks[key(p, b)]; old == nil {
				blocks++
				size += len(p.FileName) + maxLine
			} else if old.statements != b.NumStmt {
				return fmt.Errorf("%s:%d has %d statements, and %d on others: it is another build", p.FileName, b.StartLine, b.NumStmt, old.statements)
			}
		}
	}
	at := len(m.kernels)
	again := at > 0 && m.kernels[at-1] == kernel // of another program
	if again {
		at--
	}
	if size > maxProfile || blocks*(at+1) > maxMarks {
		return errors.New("there is no room for it: all profiles together are too large")
	}
	if m.mode, m.size = mode, size; !again {
		m.kernels = append(m.kernels, kernel)
	}
	most := uint64(math.MaxInt32) // runs of a block
	if mode == "set" {
		most = 1
	}
	for _, p := range profiles {
		for _, b := range p.Blocks {
			c := m.blocks[key(p, b)]
			if c == nil {
				c = &count{statements: b.NumStmt}
				m.blocks[key(p, b)] = c
			}
			if b.Count != 0 && c.on.Bit(at) == 0 {
				c.kernels++
				c.on.SetBit(&c.on, at, 1)
			}
			// A sum that overflowed is negative.
			c.runs = int(min(uint64(c.runs)+min(uint64(b.Count), most), most))
		}
	}
	return nil
}

// result writes the merged profile, and fills c.
func (m *merger) result(c *report.Coverage) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "mode: %s\n", m.mode)
	type place struct {
		block
		*count
		statements int
	}
	var places []place
	next := false // the block before is the last of places
	for _, k := range slices.SortedFunc(maps.Keys(m.blocks), block.compare) {
		n := m.blocks[k]
		fmt.Fprintf(&b, "%s:%d.%d,%d.%d %d %d\n", k.file, k.StartLine, k.StartCol, k.EndLine, k.EndCol, n.statements, n.runs)
		c.Statements += n.statements
		if n.kernels > 0 {
			c.Covered += n.statements
		}
		if n.statements == 0 {
			continue
		}
		if n.kernels == 0 || n.kernels == len(m.kernels) {
			next = false
			continue
		}
		c.Some += n.statements
		if last := len(places) - 1; next && places[last].file == k.file && places[last].on.Cmp(&n.on) == 0 {
			places[last].EndLine = max(places[last].EndLine, k.EndLine)
			places[last].statements += n.statements
		} else {
			places = append(places, place{k, n, n.statements})
		}
		next = true
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(b.statements, a.statements) })
	for _, p := range places[:min(len(places), maxPlaces)] {
		lines := fmt.Sprint(p.StartLine)
		if p.EndLine > p.StartLine {
			lines += fmt.Sprintf("-%d", p.EndLine)
		}
		c.Places = append(c.Places, report.OneLine(fmt.Sprintf("%s in %s:%s (%s)", report.Thousands(p.statements), p.file, lines, m.where(p.count)), 1000))
	}
	return b.Bytes()
}

// where names the kernels that cover a block, or those that do not if these are
// fewer.
func (m *merger) where(c *count) string {
	which, bit := "only on ", uint(1)
	if c.kernels > len(m.kernels)/2 {
		which, bit = "not on ", 0
	}
	var names []string
	for i, k := range m.kernels {
		if c.on.Bit(i) == bit {
			names = append(names, k)
		}
	}
	return which + report.List(names, 3, func(s string) string { return s })
}
