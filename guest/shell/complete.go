package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// complete completes the word before pos, a command where it is the first and a
// file otherwise, as far as all that fit it agree. It returns the new line and
// position, and what fits.
func complete(line string, pos int, dir, path string) (string, int, []string) {
	start := strings.LastIndexAny(line[:pos], " \t;|&<>(=") + 1
	word := line[start:pos]
	before := strings.TrimRight(line[:start], " \t")
	first := before == "" || strings.ContainsRune(";|&(", rune(before[len(before)-1]))

	var fits []string
	if first && !strings.Contains(word, "/") {
		fits = commands(word, path)
	} else {
		fits = files(word, dir)
	}
	if len(fits) == 0 {
		return line, pos, nil
	}
	common := fits[0]
	for _, f := range fits[1:] {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	if len(fits) == 1 && !strings.HasSuffix(common, "/") {
		common += " "
	}
	if len(common) < len(word) {
		return line, pos, fits
	}
	return line[:start] + common + line[pos:], start + len(common), fits
}

// commands are those of the shell and of the path that begin with a word.
func commands(word, path string) []string {
	found := map[string]bool{}
	for _, b := range []string{"cd", "echo", "exit", "export", "fg", "jobs", "printf", "pwd", "read", "set", "test", "type", "unset", "wait"} {
		found[b] = true
	}
	for dir := range strings.SplitSeq(path, ":") {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
				found[e.Name()] = true
			}
		}
	}
	maps.DeleteFunc(found, func(name string, _ bool) bool { return !strings.HasPrefix(name, word) })
	return slices.Sorted(maps.Keys(found))
}

// files are the files that begin with a word, directories with a slash.
func files(word, dir string) []string {
	parent, base := filepath.Split(word)
	at := parent
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	entries, _ := os.ReadDir(at)
	var fits []string
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, base) || base == "" && strings.HasPrefix(name, ".") {
			continue
		}
		if info, err := os.Stat(filepath.Join(at, name)); err == nil && info.IsDir() {
			name += "/"
		}
		fits = append(fits, parent+name)
	}
	return fits
}
