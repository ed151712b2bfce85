package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// What merge reads was written by other jobs, or by whoever could upload an
// artifact. Everything has a limit, and a limit that is met is an error that
// says so.
const (
	maxJSON     = 256 << 20          // bytes of a plan, of timings, of a base
	maxDepth    = 16                 // of nested JSON
	maxValues   = 20_000_000         // in one JSON text: 100 kernels with 3,000 BPF programs each have 9 million
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

// document is a JSON file of this program's.
type document interface{ check() error }

// readDocument reads a document from a hostile place. Another schema than the
// wanted one may have other types: its number is looked at first.
func readDocument(r io.Reader, what string, schema int, d document) error {
	var head struct{ Schema any }
	b, err := readAll(r, maxJSON)
	if err == nil {
		err = plainJSON(decode(b, &head))
	}
	if err == nil {
		err = checkSchema(head.Schema, schema)
	}
	if err == nil {
		err = plainJSON(json.Unmarshal(b, d))
	}
	if err == nil {
		err = checkLimits(d)
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// writeDocument writes v indented, with a newline at the end. It leaves <, > and &
// as they are: the files are no web pages.
func writeDocument(w io.Writer, what string, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the %s: %w", what, err)
	}
	return nil
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
		n     int             // of an array: its entries
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
		} else if top != nil {
			if top.n++; top.n > maxKernels { // the longest of all lists, which takes more memory than its text
				return fmt.Errorf("it has a list of %d: want at most %d", top.n, maxKernels)
			}
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

// limits holds the texts, lists and numbers of a record to their fields' limits.
// A field's tag says another one than is usual:
//
//	limit:"200"   a text of so many bytes, a list of so many entries, a number up to it
//	limit:"word"  a printable text in one line of at most maxWord bytes
type limits struct {
	cut bool // what is too large is cut, in a copy; else it is an error
}

// checkLimits says what in a record is larger than it may be.
func checkLimits(record any) error { return limits{}.walk(reflect.ValueOf(record).Elem(), "") }

func (l limits) walk(v reflect.Value, tag string) error {
	most := func(usual int) int {
		if n, err := strconv.Atoi(tag); err == nil {
			return n
		}
		return usual
	}
	switch v.Kind() {
	case reflect.String:
		return l.text(v, most(maxText), tag == "word")
	case reflect.Int, reflect.Int64:
		limit := int64(most(int(maxDuration)))
		if n := v.Int(); n < 0 || n > limit {
			if !l.cut {
				return fmt.Errorf("%d: want 0 to %d", n, limit)
			}
			v.SetInt(min(max(n, 0), limit))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if l.cut {
			c := reflect.New(v.Type().Elem())
			c.Elem().Set(v.Elem())
			v.Set(c)
		}
		return l.walk(v.Elem(), tag)
	case reflect.Slice:
		return l.list(v, most(maxList))
	case reflect.Map:
		return l.table(v, most(maxList))
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if err := l.walk(v.Field(i), f.Tag.Get("limit")); err != nil {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func (l limits) text(v reflect.Value, limit int, word bool) error {
	s := v.String()
	switch {
	case word && l.cut:
		v.SetString(OneLine(s, maxWord))
	case word && OneLine(s, maxWord) != s:
		return fmt.Errorf("%.50q is no printable word of at most %d bytes", s, maxWord)
	case l.cut:
		v.SetString(cutText(s, limit))
	case len(s) > limit:
		return fmt.Errorf("a text of %d bytes: want at most %d", len(s), limit)
	}
	return nil
}

func (l limits) list(v reflect.Value, limit int) error {
	n := v.Len()
	if n > limit && !l.cut {
		return fmt.Errorf("a list of %d: want at most %d", n, limit)
	}
	if l.cut && n > 0 {
		n = min(n, limit)
		c := reflect.MakeSlice(v.Type(), n, n)
		reflect.Copy(c, v)
		v.Set(c)
	}
	for i := range n {
		if err := l.walk(v.Index(i), ""); err != nil {
			return fmt.Errorf("%d: %w", i+1, err)
		}
	}
	return nil
}

func (l limits) table(v reflect.Value, limit int) error {
	if v.Len() > limit && !l.cut {
		return fmt.Errorf("a list of %d: want at most %d", v.Len(), limit)
	}
	kept := reflect.MakeMap(v.Type())
	for _, k := range v.MapKeys() {
		key, value := reflect.New(k.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.Set(k)
		value.Set(v.MapIndex(k))
		if err := errors.Join(l.walk(key, ""), l.walk(value, "")); err != nil {
			return fmt.Errorf("%.100q: %w", k, err)
		}
		if kept.Len() < limit {
			kept.SetMapIndex(key, value)
		}
	}
	if l.cut && v.Len() > 0 {
		v.Set(kept)
	}
	return nil
}

// cutText cuts s between two characters. What is no UTF-8 grows when it is
// written as JSON, so it is made valid before.
func cutText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
