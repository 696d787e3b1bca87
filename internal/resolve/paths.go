package resolve

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spillway-project/spillway/internal/ledger"
)

// sumPaths adds up the integers at dot-separated paths; a number addresses an element of a list.
func (t *target) sumPaths(paths []string) (int32, error) {
	content, err := t.fields()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, path := range paths {
		n, err := intAt(content, path)
		if err != nil {
			return 0, fmt.Errorf("%w: spec.targetFilter.replicasPathList: path %q on %s %s: %w",
				ledger.ErrInvalid, path, t.kind.Kind, t.key, err)
		}
		sum += n
	}
	return int32(min(max(sum, 0), math.MaxInt32)), nil //nolint:gosec // bounded
}

// lookUp returns the integer at a path, and whether the last field is there at all.
func lookUp(content map[string]any, path string) (n int32, found bool, err error) {
	v, err := walk(content, path)
	if _, absent := err.(absentError); absent { //nolint:errorlint // never wrapped
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	i, err := asInt(v)
	return int32(min(max(i, 0), math.MaxInt32)), true, err //nolint:gosec // bounded
}

func intAt(at any, path string) (int64, error) {
	v, err := walk(at, path)
	if err != nil {
		return 0, err
	}
	return asInt(v)
}

func asInt(v any) (int64, error) {
	switch n := v.(type) {
	case int64:
		return n, nil
	case float64: // as the API server sends whole numbers in some fields
		if n == math.Trunc(n) && math.Abs(n) < math.MaxInt32 {
			return int64(n), nil
		}
	}
	return 0, fmt.Errorf("the value is a %T, not an integer", v)
}

// absentError says that a field is not there.
type absentError string

func (e absentError) Error() string { return fmt.Sprintf("there is no field %q", string(e)) }

// walk follows a dot-separated path.
func walk(at any, path string) (any, error) {
	for step := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[step]
			if !ok {
				return nil, absentError(step)
			}
			at = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil, fmt.Errorf("%q is no index of a list of %d elements", step, len(v))
			}
			at = v[i]
		default:
			return nil, fmt.Errorf("%q leads into a %T", step, at)
		}
	}
	return at, nil
}
