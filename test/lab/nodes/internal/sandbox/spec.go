// Package sandbox starts the processes of containers, each in a file system and process tree of its
// own where the machine allows it.
//
// The parent starts this same binary again in new namespaces, and that one, the shim, builds the
// container's root from a Spec, moves into it and becomes the container's process by exec. So no
// tool of the machine is needed, and the process ID that the parent knows is the container's.
package sandbox

// Mode is a way to isolate a container.
type Mode string

// Modes, strongest first.
const (
	// ModeRoot uses namespaces that only root may make.
	ModeRoot Mode = "root"
	// ModeUser makes them in a user namespace; all users of the container are the lab's own user.
	ModeUser Mode = "user"
	// ModeNone only starts the process.
	ModeNone Mode = "none"
)

// ShimCommand is the first argument that makes the binary act as the shim.
const ShimCommand = "shim"

// Spec is all that the shim has to know of a container.
type Spec struct {
	// Mode is ModeRoot or ModeUser.
	Mode Mode `json:"mode"`
	// Root is an empty folder of this machine that the root is mounted on.
	Root string `json:"root"`
	// ReadOnlyRoot makes all of it read-only but the mounts that are not.
	ReadOnlyRoot bool `json:"readOnlyRoot"`
	// Hostname is the container's own.
	Hostname string `json:"hostname"`
	// Mounts are made in this order.
	Mounts []Mount `json:"mounts"`
	// Files are small files that every image has, by path.
	Files map[string]string `json:"files"`
	// Args is the command line; the first element is a path in the root or is looked up in PATH.
	Args []string `json:"args"`
	// Env is the whole environment.
	Env []string `json:"env"`
	// WorkingDir is where the process starts; it is created.
	WorkingDir string `json:"workingDir"`
	// User, Group and Groups are the process's own; only ModeRoot heeds them.
	User   int   `json:"user"`
	Group  int   `json:"group"`
	Groups []int `json:"groups"`
	// NoNewPrivileges keeps the process from gaining any.
	NoNewPrivileges bool `json:"noNewPrivileges"`
}

// Mount makes a file or folder of this machine appear in the container.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly"`
}
