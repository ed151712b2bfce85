package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/interp"
)

// lines calls do with each line of r, however long, without its newline, until
// do returns false.
func lines(r io.Reader, do func(line []byte) bool) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		b, err := br.ReadBytes('\n')
		if len(b) > 0 && !do(bytes.TrimSuffix(b, []byte("\n"))) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func grep(args []string, std stdio) error {
	set, args, err := flags(args, "ivnlcrFEohq")
	if err != nil || len(args) == 0 {
		return errUsage
	}
	pattern, files := args[0], args[1:]
	if set['F'] {
		pattern = regexp.QuoteMeta(pattern)
	}
	if set['i'] {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	if set['r'] {
		files = below(files)
	}
	named := (len(files) > 1 || set['r']) && !set['h']
	out := bufio.NewWriter(std.out)
	defer func() { _ = out.Flush() }()
	any := false
	err = each(files, std, func(r io.Reader, name string) error {
		prefix := ""
		if named {
			prefix = name + ":"
		}
		n, hits := 0, 0
		err := lines(r, func(line []byte) bool {
			n++
			if re.Match(line) == set['v'] {
				return true
			}
			hits++
			switch {
			case set['q'] || set['l']:
				return false
			case set['c']:
			case set['o'] && !set['v']:
				for _, m := range re.FindAll(line, -1) {
					fmt.Fprintf(out, "%s%s\n", prefix, m)
				}
			case set['n']:
				fmt.Fprintf(out, "%s%d:%s\n", prefix, n, line)
			default:
				fmt.Fprintf(out, "%s%s\n", prefix, line)
			}
			return true
		})
		any = any || hits > 0
		switch {
		case set['l'] && hits > 0:
			fmt.Fprintln(out, name)
		case set['c'] && !set['q']:
			fmt.Fprintf(out, "%s%d\n", prefix, hits)
		}
		if err != nil && set['r'] { // as many files of /proc and /sys
			return nil
		}
		return err
	})
	if err == nil && !any {
		return interp.ExitStatus(1)
	}
	return err
}

// below are the regular files below the directories.
func below(dirs []string) []string {
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	var files []string
	for _, d := range dirs {
		_ = filepath.WalkDir(d, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, p)
			}
			return nil
		})
	}
	return files
}

// lineCount takes "-n N" and "-N" off.
func lineCount(args []string) (n int, rest []string, err error) {
	n = 10
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := strings.TrimPrefix(args[0][1:], "n")
		args = args[1:]
		if word == "" && len(args) > 0 {
			word, args = args[0], args[1:]
		}
		if n, err = strconv.Atoi(word); err != nil || n < 0 {
			return 0, nil, errUsage
		}
	}
	return n, args, nil
}

func head(args []string, std stdio) error {
	n, files, err := lineCount(args)
	if err != nil {
		return err
	}
	return each(files, std, func(r io.Reader, _ string) error {
		left := n
		if left == 0 {
			return nil
		}
		return lines(r, func(line []byte) bool {
			fmt.Fprintf(std.out, "%s\n", line)
			left--
			return left > 0
		})
	})
}

func tail(args []string, std stdio) error {
	n, files, err := lineCount(args)
	if err != nil {
		return err
	}
	return each(files, std, func(r io.Reader, _ string) error {
		var last [][]byte
		err := lines(r, func(line []byte) bool {
			last = append(last, bytes.Clone(line))
			if len(last) > n {
				last = last[1:]
			}
			return true
		})
		for _, line := range last {
			fmt.Fprintf(std.out, "%s\n", line)
		}
		return err
	})
}

func wc(args []string, std stdio) error {
	set, files, err := flags(args, "lwc")
	if err != nil {
		return err
	}
	return each(files, std, func(r io.Reader, name string) error {
		var nl, words, size int
		err := lines(r, func(line []byte) bool {
			nl++
			words += len(bytes.Fields(line))
			size += len(line) + 1
			return true
		})
		var cols []string
		for _, c := range []struct {
			flag rune
			n    int
		}{{'l', nl}, {'w', words}, {'c', size}} {
			if set[c.flag] || len(set) == 0 {
				cols = append(cols, strconv.Itoa(c.n))
			}
		}
		if name != "" {
			cols = append(cols, name)
		}
		fmt.Fprintln(std.out, strings.Join(cols, " "))
		return err
	})
}

func sortLines(args []string, std stdio) error {
	set, files, err := flags(args, "nru")
	if err != nil {
		return err
	}
	var all []string
	err = each(files, std, func(r io.Reader, _ string) error {
		return lines(r, func(line []byte) bool {
			all = append(all, string(line))
			return true
		})
	})
	slices.SortStableFunc(all, func(a, b string) int {
		if set['n'] {
			if c := cmp.Compare(leadingNumber(a), leadingNumber(b)); c != 0 {
				return c
			}
		}
		return strings.Compare(a, b)
	})
	if set['r'] {
		slices.Reverse(all)
	}
	if set['u'] {
		all = slices.Compact(all)
	}
	out := bufio.NewWriter(std.out)
	for _, l := range all {
		fmt.Fprintln(out, l)
	}
	return errors.Join(err, out.Flush())
}

func leadingNumber(s string) (n float64) {
	_, _ = fmt.Sscanf(strings.TrimSpace(s), "%g", &n) // 0 where there is none
	return n
}

func tee(args []string, std stdio) error {
	set, files, err := flags(args, "a")
	if err != nil {
		return err
	}
	mode := os.O_TRUNC
	if set['a'] {
		mode = os.O_APPEND
	}
	out := []io.Writer{std.out}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|mode, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		out = append(out, f)
	}
	_, err = io.Copy(io.MultiWriter(out...), std.in)
	return err
}
