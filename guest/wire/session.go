package wire

// What the host and the shell of a debugging session agree on.
const (
	SessionHostRoot = "BKC_HOST_ROOT" // environment variable: mount the host's root
	HostTag         = "bkc-host"      // of the 9p share
	HostRoot        = "/host"         // where it is mounted
	SessionMotd     = "/etc/motd"     // what the shell says first
	// ResultsNone is a value of ParamResults: nobody listens.
	ResultsNone = "none"
)
