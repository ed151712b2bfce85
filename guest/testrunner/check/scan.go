package check

import "encoding/json"

// members visits the members of a JSON object, which must be valid (see
// json.Valid). It allocates nothing: a stream has many events of processes of
// no interest, and on an emulated processor decoding all of them takes longer
// than making them. A key with an escape in it is decoded; values are not.
func members(object []byte, visit func(key string, value []byte)) {
	i := space(object, 0)
	if i >= len(object) || object[i] != '{' {
		return
	}
	for i = space(object, i+1); i < len(object) && object[i] == '"'; i = space(object, i+1) {
		end := value(object, i)
		key := string(object[i+1 : end-1])
		for _, c := range []byte(key) {
			if c == '\\' || c >= 0x80 {
				_ = json.Unmarshal(object[i:end], &key) // it is valid
				break
			}
		}
		i = space(object, end)
		i = space(object, i+1) // behind the colon
		end = value(object, i)
		visit(key, object[i:end])
		if i = space(object, end); i >= len(object) || object[i] != ',' {
			return
		}
	}
}

// value returns where the value that begins at i ends.
func value(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			if depth == 0 {
				return i // the end of a number or word, and of what holds it
			}
			depth--
			i++
		case ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			for i++; i < len(b) && !delimiter(b[i]); i++ {
			}
		}
		if depth == 0 {
			return min(i, len(b))
		}
	}
	return len(b)
}

func delimiter(c byte) bool {
	switch c {
	case ',', '}', ']', ' ', '\t', '\r', '\n', ':':
		return true
	}
	return false
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}
