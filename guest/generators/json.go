package main

import "strconv"

// object is a JSON object whose members keep their order. See failure for why
// it is written by hand.
type object []member

type member struct{ key, value string }

func (o object) num(key string, n int64) object {
	return append(o, member{key, strconv.FormatInt(n, 10)})
}

func (o object) unsigned(key string, n uint64) object {
	return append(o, member{key, strconv.FormatUint(n, 10)})
}

func (o object) flag(key string, b bool) object {
	return append(o, member{key, strconv.FormatBool(b)})
}

func (o object) text(key, s string) object { return append(o, member{key, quote(s)}) }

func (o object) object(key string, inner object) object {
	return append(o, member{key, inner.String()})
}

func (o object) String() string {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, quote(m.key)...)
		b = append(b, ": "...)
		b = append(b, m.value...)
	}
	return string(append(b, '}'))
}

func (o object) line() string { return o.String() + "\n" }

// quote writes a JSON string. Text that is not UTF-8 is passed as it is: no
// generator has any.
func quote(s string) string {
	const hex = "0123456789abcdef"
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
