// Package console reads what a guest's serial console says about its kernel:
// panics, oopses, splats, lockups, stalls. The console carries the payload's
// output as well, so guest and host agree on a way to tell the two apart:
// kernel messages carry a time stamp (printk.time=1), and init quotes whatever
// in the payload's output looks like one.
package console

// quote stands in a time stamp, behind its bracket, that is not the kernel's. It
// stands inside so that it is none any more: in front of a stamp it would be a
// payload's to write, and the kernel, which goes on in the middle of a line,
// would print its own behind it. The unit separator is invisible in terminals
// and means nothing to them.
const quote = 0x1f

// Quote returns line with every printk time stamp in it marked as a payload's.
// It returns line itself when there is none.
func Quote(line []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(line); i++ {
		if stampLen(line[i:]) > 0 {
			out = append(append(out, line[done:i+1]...), quote)
			done = i + 1
		}
	}
	if out == nil {
		return line
	}
	return append(out, line[done:]...)
}

// stampLen returns the length of the printk time stamp that b starts with,
// such as "[    1.234567] ", and 0 when there is none. A caller's id as
// CONFIG_PRINTK_CALLER adds it ("[    T1] ") belongs to it.
func stampLen(b []byte) int {
	n := bracket(b, func(s []byte) bool {
		dot := -1
		for i, c := range s {
			switch {
			case c == '.' && dot < 0 && i > 0:
				dot = i
			case c < '0' || c > '9':
				return false
			}
		}
		return dot > 0 && len(s)-dot == 7
	})
	if n == 0 {
		return 0
	}
	n += bracket(b[n:], func(s []byte) bool {
		if len(s) < 2 || s[0] != 'T' && s[0] != 'C' {
			return false
		}
		for _, c := range s[1:] {
			if c < '0' || c > '9' {
				return false
			}
		}
		return true
	})
	return n
}

// bracket returns the length of a leading "[", spaces, a text that ok accepts,
// "]" and the space behind it.
func bracket(b []byte, ok func([]byte) bool) int {
	if len(b) == 0 || b[0] != '[' {
		return 0
	}
	start := 1
	for start < len(b) && b[start] == ' ' {
		start++
	}
	end := start
	for end < len(b) && end-start < 24 && b[end] != ']' {
		end++
	}
	if end == len(b) || b[end] != ']' || !ok(b[start:end]) {
		return 0
	}
	end++
	if end < len(b) && b[end] == ' ' {
		end++
	}
	return end
}
