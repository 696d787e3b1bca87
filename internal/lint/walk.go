package lint

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// place is a node and what belongs there.
type place struct {
	// node is the value, key its key; key is nil for elements of lists.
	node, key *yaml.Node
	// of is the type that belongs there; nil for a field that does not exist.
	of reflect.Type
	// in is the structure, map or list around it; nil for the object.
	in *place
}

// name of the field.
func (p *place) name() string {
	if p.key == nil {
		return ""
	}
	return p.key.Value
}

// isStruct reports whether fields belong into the node, and are there.
func (p *place) isStruct() bool {
	return p.of != nil && p.of.Kind() == reflect.Struct && p.node.Kind == yaml.MappingNode
}

// inside reports whether the place is somewhere in the structure of a type.
func (p *place) inside(t reflect.Type) bool {
	for ; p != nil; p = p.in {
		if p.of == t {
			return true
		}
	}
	return false
}

var (
	podType   = reflect.TypeFor[corev1.Pod]()
	metaType  = reflect.TypeFor[metav1.ObjectMeta]()
	rawType   = reflect.TypeFor[runtime.RawExtension]()
	selfReads = reflect.TypeFor[json.Unmarshaler]()
)

// walk visits every place that the object's type describes, from the outside in, and fields that do not exist. What
// the API server writes is passed over.
func (d *document) walk(visit func(*place)) {
	var step func(*place)
	step = func(p *place) {
		visit(p)
		if p.of == nil {
			return
		}
		switch p.of.Kind() {
		case reflect.Struct:
			if p.node.Kind != yaml.MappingNode {
				return
			}
			known := fieldsOf(p.of)
			for i := 0; i+1 < len(p.node.Content); i += 2 {
				k, v := p.node.Content[i], p.node.Content[i+1]
				if p.in == nil && k.Value == "status" || k.Value == "managedFields" && p.of == metaType || strings.HasPrefix(k.Value, "$") || k.Value == "<<" {
					continue
				}
				step(&place{v, k, known[k.Value], p})
			}
		case reflect.Map:
			if p.node.Kind != yaml.MappingNode {
				return
			}
			for i := 0; i+1 < len(p.node.Content); i += 2 {
				if !strings.HasPrefix(p.node.Content[i].Value, "$") {
					step(&place{p.node.Content[i+1], p.node.Content[i], plain(p.of.Elem()), p})
				}
			}
		case reflect.Slice:
			if p.node.Kind != yaml.SequenceNode {
				return
			}
			for _, n := range p.node.Content {
				step(&place{n, nil, plain(p.of.Elem()), p})
			}
		}
	}
	step(&place{node: d.root, of: d.typ()})
}

// fieldsOf returns the types of a structure's fields by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			maps.Copy(out, fieldsOf(f.Type))
		case name != "":
			out[name] = plain(f.Type)
		}
	}
	return out
}

// plain is the type behind pointers. A patch is a pod; what reads itself from JSON is opaque: a value of any kind.
func plain(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == rawType:
		return podType
	case reflect.PointerTo(t).Implements(selfReads):
		return opaque
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return opaque
	default:
		return t
	}
}

// opaque stands for values that rules do not look into.
var opaque = reflect.TypeFor[any]()
