package clusterselector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
)

// Encode returns the selection as compact JSON, always the same text for the same selection. Only what is nil is
// left out; encoding/json would leave out empty lists and maps too, and they would come back as nil.
func (s Selection) Encode() string {
	tree, ok := plain(reflect.ValueOf(s)).(map[string]any)
	if !ok {
		panic("encode a selection: a struct did not become an object")
	}
	for key, raw := range s.Extra {
		tree[key] = raw
	}
	return encode(tree)
}

// encode writes JSON without escaping what only matters in HTML.
func encode(value any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil { // Kubernetes' types and text that was JSON before
		panic(fmt.Sprintf("encode %T: %v", value, err))
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// plain turns a value into maps and lists, following its JSON tags except that omitempty leaves out nil, zero
// numbers and empty strings only.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = plain(v.Index(i))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		out := make(map[string]any, v.Len())
		for _, key := range v.MapKeys() {
			out[key.String()] = plain(v.MapIndex(key))
		}
		return out
	case reflect.Struct:
		return plainStruct(v)
	default:
		return v.Interface()
	}
}

func plainStruct(v reflect.Value) map[string]any {
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		field := v.Field(i)
		switch {
		case name == "-":
		case name == "": // embedded
			if inner, ok := plain(field).(map[string]any); ok {
				maps.Copy(out, inner)
			}
		case strings.Contains(options, "omitempty") && field.IsZero(): // an empty list is not zero
		default:
			out[name] = plain(field)
		}
	}
	return out
}
