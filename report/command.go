package report

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CommandPrefix is how the command to reproduce a result begins.
const CommandPrefix = "bpf-kernel-check debug "

// maxCommand bounds the command to reproduce a result, in bytes.
const maxCommand = 4096

// Command is the command that opens a shell in a kernel, as one line for a
// shell. It is "" where the words cannot stand in such a line.
func Command(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.Trim(w, plainChars) != "" {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	line := CommandPrefix + strings.Join(quoted, " ")
	if _, err := CommandWords(line); err != nil {
		return ""
	}
	return line
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
	words, err := shellWords(strings.TrimPrefix(line, CommandPrefix))
	if err != nil {
		return nil, bad(err.Error())
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
		"--from": true, "--require": true, "--file": true, "--env": true, "--workdir": true, "--module": true, "--memory": true, "--arch": true,
	}
}

// shellWords splits a line as a shell does. Only what every shell takes as it
// is may stand outside of quotes.
func shellWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in := false
	end := func() {
		if in {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ':
			end()
		case c == '\'':
			in = true
			n := strings.IndexByte(line[i+1:], '\'')
			if n < 0 {
				return nil, errors.New("has a quote that does not end")
			}
			word.WriteString(line[i+1 : i+1+n])
			i += 1 + n
		case c == '\\' && i+1 < len(line) && line[i+1] < utf8.RuneSelf:
			in = true
			i++
			word.WriteByte(line[i])
		case strings.IndexByte(plainChars, c) >= 0:
			in = true
			word.WriteByte(c)
		default:
			return nil, fmt.Errorf("has %q outside of quotes", c)
		}
	}
	end()
	return words, nil
}
