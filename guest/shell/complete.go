package main

import (
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

	dirs := []string{dir}
	if first && !strings.Contains(word, "/") {
		dirs = strings.Split(path, ":")
	}
	var fits []string
	for _, dir := range dirs {
		fits = append(fits, filesLike(word, dir)...)
	}
	slices.Sort(fits)
	fits = slices.Compact(fits)
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

// filesLike are the files that begin with a word, directories with a slash.
func filesLike(word, dir string) []string {
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
