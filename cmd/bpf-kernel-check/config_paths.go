package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

// pathsIn says how the values of flags name files of this machine: the functions
// return a value whose relative paths started at dir. The other flags name none.
// rooted says that bare names of programs are those of a root file system.
func pathsIn(rooted bool) map[string]func(dir, value string) string {
	under := func(dir, value string) string {
		if filepath.IsAbs(value) {
			return value
		}
		return dir + "/" + strings.TrimPrefix(value, "./")
	}
	m := map[string]func(dir, value string) string{
		"kernels": func(dir, value string) string {
			if list, ok := strings.CutPrefix(value, "@"); ok {
				return "@" + under(dir, list)
			}
			return source.RelativeTo(dir, value)
		},
		"rootfs": source.RelativeTo,
		"module": func(dir, value string) string {
			if !isOwnModule(value) {
				return value
			}
			return under(dir, value)
		},
		"objects": func(dir, value string) string { return under(globEscape(dir), value) },
		"go": func(dir, value string) string {
			if !strings.HasPrefix(value, ".") { // an import path
				return value
			}
			if value = under(dir, value); !filepath.IsAbs(value) && !strings.HasPrefix(value, ".") {
				return "./" + value // without, it would be an import path
			}
			return value
		},
		"library-path": func(dir, value string) string {
			dirs := strings.Split(value, ":")
			for i := range dirs {
				dirs[i] = under(dir, dirs[i])
			}
			return strings.Join(dirs, ":")
		},
		"test": func(dir, value string) string {
			words, err := shellquote.Split(value)
			if err != nil || len(words) == 0 { // the flag says what is wrong
				return value
			}
			i := 0 // of the program, which settings and -- may precede
			if end := slices.Index(words, "--"); end == 0 || end > 0 && strings.Contains(words[0], "=") {
				i = min(end+1, len(words)-1)
			}
			if !rooted || strings.Contains(words[i], "/") {
				words[i] = under(dir, words[i])
			}
			return shellquote.Join(words...)
		},
	}
	for _, flag := range []string{"allow-splats", "btf", "cache", "events-trace", "expected-failures", "file", "history", "index", "mainline", "out", "tests", "timings"} {
		m[flag] = under
	}
	return m
}
