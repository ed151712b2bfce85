package shard

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// The files that a guest leaves are evidence and hostile input: their names,
// number and sizes are checked, and nothing about them has a say in a verdict.

// guestFile is a file put together from its records.
type guestFile struct {
	name   string
	packed []byte // gzip
	keep   bool   // it stays compressed
}

// gather puts the files of one VM together. Problems say which are left out,
// each in one line.
func gather(records []wire.Record) (files []guestFile, problems []string) {
	type partial struct {
		next   int
		done   bool
		packed []byte
		keep   bool
		bad    string
	}
	var budget wire.FileBudget
	parts := map[string]*partial{}
	var order []string
	badNames, over := 0, 0
	for _, r := range records {
		f := r.File
		if f == nil || r.Type != wire.TypeFile {
			continue
		}
		if !budget.Take(f) {
			over++
			continue
		}
		if f.Note != "" {
			problems = append(problems, report.OneLine(f.Note, 500))
			continue
		}
		if wire.CheckFileName(f.Name) != nil {
			badNames++
			continue
		}
		p := parts[f.Name]
		if p == nil {
			p = &partial{keep: f.Packed && wire.Collected(f.Name)}
			parts[f.Name] = p
			order = append(order, f.Name)
		}
		switch {
		case p.bad != "":
		case p.done:
			p.bad = "it goes on after its end"
		case f.Chunk != p.next:
			p.bad = fmt.Sprintf("piece %d follows piece %d", f.Chunk, p.next-1)
		default:
			p.next++
			p.packed = append(p.packed, f.Data...)
			p.done = f.Last
		}
	}
	for _, name := range order {
		p := parts[name]
		if p.bad == "" && !p.done {
			p.bad = "its end is missing"
		}
		if p.bad != "" {
			problems = append(problems, name+": "+p.bad)
			continue
		}
		files = append(files, guestFile{name, p.packed, p.keep})
	}
	if badNames > 0 {
		problems = append(problems, fmt.Sprintf("%d pieces of files with names that are not allowed", badNames))
	}
	if over > 0 {
		problems = append(problems, fmt.Sprintf("%d pieces of files over the limit of %d MiB, %d MiB for those that are collected", over, wire.MaxFileBytes>>20, wire.MaxCollectedBytes>>20))
	}
	return files, problems
}

// removeFiles removes the files that a guest left in dir.
func removeFiles(dir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, wire.FileRoot)), os.RemoveAll(filepath.Join(dir, wire.CollectRoot)))
}

// writeFiles replaces what dir holds of a guest's files by those of records. It
// returns their names, relative to dir, and why files are cut or missing.
func writeFiles(dir string, records []wire.Record) (names, problems []string) {
	files, problems := gather(records)
	if err := removeFiles(dir); err != nil {
		return nil, append(problems, err.Error())
	}
	if len(files) == 0 {
		return nil, cutProblems(problems)
	}
	err := os.MkdirAll(dir, 0o755)
	var root *os.Root
	if err == nil {
		root, err = os.OpenRoot(dir) // no link leads out of it
	}
	if err != nil {
		return nil, append(problems, err.Error())
	}
	defer root.Close()
	left := int64(wire.MaxFilesSize)
	for _, f := range files {
		n, err := writeFile(root, f, min(left, wire.MaxFileSize))
		left -= n
		if err != nil {
			problems = append(problems, f.name+": "+report.OneLine(err.Error(), 200))
		}
		if err == nil || n > 0 {
			names = append(names, f.name)
		}
	}
	return names, cutProblems(problems)
}

func cutProblems(p []string) []string {
	const most = 20 + wire.MaxCollectedNotes
	if len(p) > most {
		return append(slices.Clone(p[:most]), fmt.Sprintf("and %d more", len(p)-most))
	}
	return p
}

// writeFile unpacks a file, at most limit bytes of it, and returns how many it
// wrote. What a damaged one holds up to its damage is kept.
func writeFile(root *os.Root, f guestFile, limit int64) (n int64, err error) {
	var zr io.Reader = bytes.NewReader(f.packed)
	if !f.keep {
		if zr, err = gzip.NewReader(zr); err != nil {
			return 0, fmt.Errorf("unpack: %w", err)
		}
	}
	if err := root.MkdirAll(path.Dir(f.name), 0o755); err != nil {
		return 0, err
	}
	out, err := root.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n, err = io.Copy(out, io.LimitReader(zr, limit))
	if err != nil {
		return n, fmt.Errorf("unpack: %w", err)
	}
	var more [1]byte
	if k, _ := zr.Read(more[:]); k > 0 {
		return n, fmt.Errorf("cut after %d bytes: it is larger than a file may be", n)
	}
	return n, nil
}

// keepFiles writes the files of one VM beside its console and notes them in its
// result.
func (r *run) keepFiles(k *report.Result, records []wire.Record) {
	dir := strings.TrimSuffix(k.Console, ".txt")
	names, problems := writeFiles(filepath.Join(r.Out, filepath.FromSlash(dir)), records)
	k.Files, k.Problems = nil, problems
	for _, n := range names {
		k.Files = append(k.Files, path.Join(dir, n))
	}
}

// clear removes what earlier runs left of the kernels to do, by their index in
// the plan, so that nobody takes an old console for one of this run, whatever
// becomes of the kernel now. Other kernels' files stay.
func (c *Config) clear(list plan.Plan, todo []int) error {
	for _, i := range todo {
		e := list.Entries[i]
		console := filepath.Join(c.Out, filepath.FromSlash(consolePath(e)))
		dir := strings.TrimSuffix(console, ".txt")
		err := removeFiles(dir)
		for n := range MaxRetries + 1 {
			file := console
			if n > 0 {
				file = attemptPath(console, n)
			}
			if rerr := os.Remove(file); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
		// The pattern has no more than the name in it: --out can hold any character.
		repeats, _ := fs.Glob(os.DirFS(filepath.Dir(dir)), e.Name+".repeat-*.txt")
		vms, _ := fs.Glob(os.DirFS(filepath.Dir(dir)), e.Name+".vm-*.txt")
		for _, name := range append(repeats, vms...) {
			file := filepath.Join(filepath.Dir(dir), name)
			of := strings.TrimSuffix(file, ".txt")
			err = errors.Join(err, os.Remove(file), removeFiles(of))
			os.Remove(of)
		}
		if err != nil {
			return fmt.Errorf("remove the results of an earlier run: %w", err)
		}
		os.Remove(dir) // stays when it holds something else
	}
	return nil
}

// consolePath is where a kernel's console goes, with slashes and relative to
// the output directory.
func consolePath(e plan.Entry) string { return path.Join("results", e.Distro, e.Name+".txt") }

// attemptPath is where the console of an attempt goes that is followed by
// another one.
func attemptPath(console string, attempt int) string {
	return fmt.Sprintf("%s.attempt-%d.txt", strings.TrimSuffix(console, ".txt"), attempt)
}
