package sidecar

import "strings"

// Image is a reference to a container image in its parts.
type Image struct {
	// Repository is the name with its registry, with what may be left out filled in.
	Repository string
	// Tag is empty when only a digest is given.
	Tag string
	// Digest is "sha256:…", or empty.
	Digest string
}

// ParseImage reads a reference, also one as runtimes report it: with a scheme
// ("docker-pullable://"), or as the bare digest of a configuration. It never fails: what is no
// reference becomes a repository that equals no other.
func ParseImage(ref string) Image {
	if _, rest, ok := strings.Cut(ref, "://"); ok {
		ref = rest
	}
	var out Image
	if isDigest(ref) {
		return Image{Digest: ref}
	}
	name, digest, _ := strings.Cut(ref, "@")
	out.Digest = digest
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, out.Tag = name[:colon], name[colon+1:]
	}
	out.Repository = fullName(name)
	return out
}

func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || !strings.HasPrefix(algorithm, "sha") || len(hex) < 32 {
		return false
	}
	return strings.Trim(hex, "0123456789abcdef") == ""
}

// fullName fills in the registry that a short name stands for.
func fullName(name string) string {
	first, _, nested := strings.Cut(name, "/")
	switch {
	case name == "":
		return ""
	case !nested:
		return "docker.io/library/" + name
	case first == "index.docker.io":
		return "docker.io/" + name[len("index.docker.io/"):]
	case strings.ContainsAny(first, ".:") || first == "localhost":
		return name
	default:
		return "docker.io/" + name
	}
}

func (i Image) tag() string {
	if i.Tag == "" && i.Digest == "" {
		return "latest"
	}
	return i.Tag
}

// Same reports whether two references name the same image in the same place.
func (i Image) Same(other Image) bool {
	if i.Digest != "" && other.Digest != "" {
		return i.Digest == other.Digest
	}
	return i.Repository == other.Repository && i.tag() == other.tag() && i.Digest == other.Digest
}

// Resembles reports whether two references may name the same image: a mirror keeps the end of the name
// and the tag, a digest alone says nothing of either.
func (i Image) Resembles(other Image) bool {
	if i.Repository == "" || other.Repository == "" {
		return true
	}
	if i.base() != other.base() {
		return false
	}
	return i.tag() == other.tag() || i.tag() == "" || other.tag() == ""
}

func (i Image) base() string { return i.Repository[strings.LastIndexByte(i.Repository, '/')+1:] }
