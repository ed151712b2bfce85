package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kballard/go-shellquote"
)

// CommandPrefix is how the command to reproduce a result begins.
const CommandPrefix = "bpf-kernel-check debug "

// maxCommand bounds the command to reproduce a result, in bytes.
const maxCommand = 4096

// Command is the command that opens a shell in a kernel, as one line for a
// shell. It is "" where the words cannot stand in such a line.
func Command(words ...string) string {
	line := commandLine(words)
	if _, err := CommandWords(line); err != nil {
		return ""
	}
	return line
}

// BisectCommand is the command that finds the kernel between a good and a bad one
// that makes the difference, of one line for a shell. It takes sources and payload
// from the commands that reproduce the two. It is "" where these are none, or it
// does not fit in one line.
func BisectCommand(good, bad *Result) string {
	var words []string
	for _, k := range []*Result{good, bad} {
		w, err := CommandWords(k.Reproduce)
		if err != nil || len(w) < 3 || w[0] != "--kernels" || w[len(w)-1] != k.ID || slices.Contains(w, "--from") {
			return ""
		}
		if k == good || w[1] != words[1] {
			words = append(words, w[:2]...)
		}
		if k == bad {
			words = append(append(words, "--good", good.ID, "--bad", bad.ID), w[2:len(w)-1]...)
		}
	}
	line := "bpf-kernel-check bisect " + quoteWords(words)
	if len(line) > maxCommand || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return line
}

func commandLine(words []string) string { return CommandPrefix + quoteWords(words) }

// quoteWords quotes every word that has a character which means something to a
// shell.
func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.Trim(w, plainChars) != "" {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// CommandWords returns the arguments of debug in such a line, or says why it is
// none. A result may come from anyone, and people paste the line into their
// shell: every word of it is plain or quoted, so that a shell makes nothing of
// it but arguments of this program.
func CommandWords(line string) ([]string, error) {
	bad := func(why string) error { return fmt.Errorf("the command to reproduce it %s", why) }
	switch {
	case len(line) > maxCommand:
		return nil, bad(fmt.Sprintf("has more than %d bytes", maxCommand))
	case !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }):
		return nil, bad("has characters that cannot be printed")
	case !strings.HasPrefix(line, CommandPrefix):
		return nil, bad("is none of " + strings.TrimSpace(CommandPrefix))
	}
	words, err := shellquote.Split(strings.TrimPrefix(line, CommandPrefix))
	if err != nil || line != commandLine(words) {
		return nil, bad("has words that are not quoted as this program does")
	}
	for i := 0; i < len(words); i++ {
		if !strings.HasPrefix(words[i], "-") {
			continue
		}
		flag, _, joined := strings.Cut(words[i], "=")
		takes, ok := commandFlags()[flag]
		if !ok {
			return nil, bad(fmt.Sprintf("has the flag %.40q", flag))
		}
		if takes && !joined {
			i++ // whatever it is, it is the flag's value
		}
	}
	return words, nil
}

// plainChars are the characters that every shell takes as they are, wherever
// they stand in a word.
const plainChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%"

// commandFlags are the flags that such a command may have, and whether each
// takes a value. None of them changes the machine it is given on.
func commandFlags() map[string]bool {
	return map[string]bool{
		"--kernels": true, "--events-trace": true, "--test": true, "--objects": true, "--attach": false, "--unsupported": true,
		"--from": true, "--require": true, "--file": true, "--env": true, "--workdir": true, "--module": true, "--modules": true, "--library-path": true, "--memory": true, "--arch": true,
		"--rootfs": true, "--loader": true, "--load": true, "--map": true, "--set": true, "--programs": true, "--alternatives": true, "--target": true, "--btf": true,
		// Builds packages of the directory that it is given in, by the go command,
		// which runs nothing of them.
		"--go": true, "--tags": true, "--go-args": true,
		"--cgroup": true, "--cpus": true, "--append": true,
		"--collect": true, "--cover": false, "--collect-cores": false,
	}
}
