// Package entries reads files that are a YAML list of entries, such as expected
// failures and allowed splats. An error names the file and the line.
//
// It knows the form of such a file, and nothing of what its entries mean.
package entries

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of a file.
const (
	MaxFile = 4 << 20 // bytes
	MaxText = 1000    // bytes of a value
)

// Error is a file that cannot be used: the user's to mend. Its text is one line
// that begins with FILE:LINE.
type Error struct{ text string }

func (e *Error) Error() string { return e.text }

// Errorf is an error about what stands at a place, FILE:LINE.
func Errorf(where, format string, args ...any) error {
	return &Error{where + ": " + report.OneLine(fmt.Errorf(format, args...).Error(), 500)}
}

// Read reads the entries of a list, and says where each stands. A key that T does
// not have, or that stands twice in an entry, is an error. Every error is an
// *Error.
func Read[T any](r io.Reader, file string) (all []T, where []string, err error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err == nil && len(b) > MaxFile {
		err = fmt.Errorf("it has more than %d MiB", MaxFile>>20)
	}
	if err != nil {
		return nil, nil, Errorf(file+":1", "%w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	err = dec.Decode(&all)
	if errors.Is(err, io.EOF) { // nothing, or comments alone
		return nil, nil, nil
	}
	if err == nil && !errors.Is(dec.Decode(new(yaml.Node)), io.EOF) {
		err = errors.New("it has more than one YAML document: want one list of entries")
	}
	var lines []yaml.Node
	if err == nil {
		err = yaml.Unmarshal(b, &lines)
	}
	if err != nil {
		return nil, nil, plain(file, err)
	}
	for _, n := range lines {
		where = append(where, fmt.Sprintf("%s:%d", file, n.Line))
		if err := checkValues(file, &n); err != nil {
			return nil, nil, err
		}
	}
	return all, where, nil
}

var (
	yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)
	noField  = regexp.MustCompile(`^field (.*) not found in type .+$`)
	goType   = regexp.MustCompile(`^cannot unmarshal (.*) into .+$`)
)

// plain says in words of this project what the decoder says in Go's.
func plain(file string, err error) error {
	msg, what := err.Error(), "no YAML: "
	var kinds *yaml.TypeError
	if errors.As(err, &kinds) && len(kinds.Errors) > 0 {
		msg, what = kinds.Errors[0], ""
	} else if !strings.HasPrefix(msg, "yaml: ") {
		what = ""
	}
	line := "1"
	if m := yamlLine.FindStringSubmatch(msg); m[1] != "" {
		line = m[1]
	}
	switch msg = yamlLine.ReplaceAllString(msg, ""); {
	case noField.MatchString(msg):
		msg = noField.ReplaceAllString(msg, `unknown key "$1"`)
	case goType.MatchString(msg):
		msg = goType.ReplaceAllString(msg, "$1 cannot stand here: want a list of entries with texts")
	}
	return Errorf(file+":"+line, "%s%s", what, msg)
}

// checkValues refuses what the decoder takes for a key that is not there, and what
// is too long to be meant.
func checkValues(file string, n *yaml.Node) error {
	where := fmt.Sprintf("%s:%d", file, n.Line)
	switch {
	case n.Kind == yaml.ScalarNode && strings.TrimSpace(n.Value) == "" || n.Tag == "!!null":
		return Errorf(where, "a value is empty")
	case len(n.Value) > MaxText:
		return Errorf(where, "a value has %d bytes: want at most %d", len(n.Value), MaxText)
	}
	for _, c := range n.Content {
		if err := checkValues(file, c); err != nil {
			return err
		}
	}
	return nil
}
