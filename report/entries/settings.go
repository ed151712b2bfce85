package entries

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Limits of a file of settings.
const (
	MaxSettings = 64 << 10 // bytes of the file
	MaxSetting  = 8 << 10  // bytes of a value
)

// Setting is a key of a file of settings, with its values as texts.
type Setting struct {
	Key    string
	Values []string // at least one, each one line
	List   bool     // they are written as a list
	Where  string   // FILE:LINE
}

// ReadSettings reads a YAML file that gives each key a value, or a list of values.
// A key that stands twice, a value that is empty or has several lines, and
// whatever is neither value nor list are errors. Aliases are not followed. Every
// error is an *Error.
func ReadSettings(r io.Reader, file string) ([]Setting, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSettings+1))
	if err == nil && len(b) > MaxSettings {
		err = fmt.Errorf("it has more than %d KiB", MaxSettings>>10)
	}
	if err != nil {
		return nil, Errorf(file+":1", "%w", err)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing, or comments alone
		return nil, nil
	case err != nil:
		return nil, &Error{plain(file, err).Error() + quotes}
	case !errors.Is(dec.Decode(new(yaml.Node)), io.EOF):
		return nil, Errorf(file+":1", "it has more than one YAML document: want one")
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, Errorf(fmt.Sprintf("%s:%d", file, root.Line), "want a line KEY: VALUE for each setting")
	}
	var all []Setting
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		where := fmt.Sprintf("%s:%d", file, key.Line)
		if key.Kind != yaml.ScalarNode {
			return nil, Errorf(where, "a key is no text: want a line KEY: VALUE for each setting")
		}
		s := Setting{Key: key.Value, Where: where, List: value.Kind == yaml.SequenceNode}
		if seen[s.Key] {
			return nil, Errorf(where, "the key %.50q stands twice", s.Key)
		}
		seen[s.Key] = true
		values := []*yaml.Node{value}
		if s.List {
			values = value.Content
		}
		if len(values) == 0 {
			return nil, Errorf(where, "%.50s: the list is empty: leave the key out", s.Key)
		}
		for _, v := range values {
			if why := badValue(v); why != "" {
				return nil, Errorf(fmt.Sprintf("%s:%d", file, v.Line), "%.50s: %s", s.Key, why)
			}
			s.Values = append(s.Values, strings.TrimSpace(v.Value))
		}
		all = append(all, s)
	}
	return all, nil
}

// quotes is what globs, lists and exclusions need in YAML.
const quotes = "; a text that begins with *, @, ! or & has to be in quotes"

// badValue says why a node is no value; "" if it is one.
func badValue(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "aliases are not followed: write the value here" + quotes
	case n.Kind == yaml.ScalarNode && !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp", "!!null"}, n.ShortTag()):
		return fmt.Sprintf("the tag %.50s is not known: want a text%s", n.Tag, quotes)
	case n.Kind != yaml.ScalarNode:
		return "want a value, or a list of values"
	case n.ShortTag() == "!!null" || strings.TrimSpace(n.Value) == "":
		return "the value is empty: leave the key out"
	case len(n.Value) > MaxSetting:
		return fmt.Sprintf("the value has %d bytes: want at most %d", len(n.Value), MaxSetting)
	case strings.ContainsFunc(strings.TrimSpace(n.Value), unicode.IsControl):
		return "the value has several lines, or a control character: want one line, or a list with a line for each"
	}
	return ""
}
