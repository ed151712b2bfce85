package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// What merge reads was written by other jobs, or by whoever could upload an
// artifact. Everything has a limit, and a limit that is met is an error that
// says so.
const (
	maxJSON     = 256 << 20          // bytes of a plan, of timings, of a base
	maxDepth    = 16                 // of nested JSON
	maxValues   = 4_000_000          // in one JSON text
	maxKernels  = 100_000            // of a list
	maxShards   = 4096               // of a list; a matrix of GitHub has at most 256 jobs
	maxAttempt  = 1_000_000          // of a run
	maxWord     = 200                // bytes of a version, a run id, a digest, half of a kernel's id
	maxText     = 4096               // bytes of a title, a test's name, a path
	maxDuration = 7 * 24 * time.Hour // of anything
)

// readAll reads at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %d MiB", limit>>20)
	}
	return b, nil
}

// decode reads exactly one JSON value of limited depth and size, none of whose
// objects has a key twice. Unknown members are ignored: a change of meaning
// changes the schema's number.
func decode(b []byte, v any) error {
	if err := CheckJSON(b); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// decodeSchema is decode for an object whose member schema is the one that is
// wanted. Another schema may have other types: its number is looked at first.
func decodeSchema(b []byte, schema int, v any) error {
	var head struct{ Schema any }
	if err := decode(b, &head); err != nil {
		return plainJSON(err)
	}
	if err := checkSchema(head.Schema, schema); err != nil {
		return err
	}
	return plainJSON(json.Unmarshal(b, v))
}

// plainJSON says in words of this project what encoding/json says in Go's.
func plainJSON(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		where := "the whole of it"
		if kind.Field != "" {
			where = "its member " + OneLine(kind.Field, 100)
		}
		return fmt.Errorf("%s is a JSON %s, which cannot be", where, OneLine(kind.Value, 50))
	case errors.As(err, &syntax):
		return fmt.Errorf("it is no JSON: %s at byte %d", syntax.Error(), syntax.Offset)
	}
	return err
}

// checkSchema compares a schema as JSON has it with the one that is known.
func checkSchema(got any, want int) error {
	if got == nil {
		return errors.New("it names no schema: bpf-kernel-check did not write it")
	}
	if got != float64(want) {
		return fmt.Errorf("its schema is %s, and this version reads schema %d only: use one version of bpf-kernel-check throughout", OneLine(fmt.Sprint(got), 50), want)
	}
	return nil
}

// CheckJSON says why a text from a hostile place is not exactly one JSON value of
// limited depth and size, none of whose objects has a key twice. It gives no
// memory to what the text describes.
func CheckJSON(b []byte) error {
	type level struct {
		keys  map[string]bool // nil: an array
		value bool            // a key has been read, its value follows
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var stack []level
	for n := 0; ; n++ {
		t, err := dec.Token()
		switch {
		case errors.Is(err, io.EOF) && n > 0 && len(stack) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("the JSON ends too early")
		case err != nil:
			return err
		case n > 0 && len(stack) == 0:
			return errors.New("something follows the JSON value")
		case n == maxValues:
			return fmt.Errorf("it has more than %d JSON values", maxValues)
		}
		var top *level
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if d, ok := t.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if top != nil && top.keys != nil {
			if !top.value {
				key := t.(string) // or Token has failed
				if top.keys[key] {
					return fmt.Errorf("the key %.50q stands twice in one object", key)
				}
				top.keys[key], top.value = true, true
				continue
			}
			top.value = false
		}
		if d, ok := t.(json.Delim); ok {
			if len(stack) == maxDepth {
				return fmt.Errorf("its JSON is nested deeper than %d", maxDepth)
			}
			l := level{}
			if d == '{' {
				l.keys = map[string]bool{}
			}
			stack = append(stack, l)
		}
	}
}

// CheckID says why an id is not one of a kernel. A good one is <distro>/<name>,
// each of at most 200 bytes of [A-Za-z0-9._+~-] and beginning with neither "."
// nor "-", so that it is a safe relative path too.
func CheckID(id string) error {
	distro, name, ok := strings.Cut(id, "/")
	if !ok || !safeName(distro) || !safeName(name) {
		return fmt.Errorf("%.250q is no kernel's id: want <distro>/<name> of letters, digits and ._+~-", id)
	}
	return nil
}

func safeName(s string) bool {
	if s == "" || len(s) > maxWord || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._+~-", c) >= 0) {
			return false
		}
	}
	return true
}

// checkWord says why s is not a short printable text.
func checkWord(what, s string) error {
	if OneLine(s, maxWord) != s {
		return fmt.Errorf("%s %.50q is no printable word of at most %d bytes", what, s, maxWord)
	}
	return nil
}
