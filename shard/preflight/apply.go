package preflight

import "github.com/elastic/bpf-kernel-check/guest/wire"

// Apply changes an object to what its application makes of it before it loads it.
func (o *Object) Apply(wire.ObjectSettings) error { return nil }
