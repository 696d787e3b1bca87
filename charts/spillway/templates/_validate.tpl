{{- /* Combinations of values that a schema cannot refuse. */}}
{{- define "spillway.validate" -}}
{{- $own := or .Values.tls.secretName .Values.tls.caBundle }}
{{- if and .Values.certManager.enabled $own }}
{{- fail "The certificate comes either from cert-manager or from a Secret of yours: set certManager.enabled to false to use tls.secretName and tls.caBundle, or leave both empty." }}
{{- end }}
{{- if and (not .Values.certManager.enabled) (not (and .Values.tls.secretName .Values.tls.caBundle)) }}
{{- fail "Without cert-manager both tls.secretName (a Secret of type kubernetes.io/tls) and tls.caBundle (its CA, PEM in base64) must be set." }}
{{- end }}
{{- if and .Values.certManager.issuerRef (not .Values.certManager.issuerRef.name) }}
{{- fail "certManager.issuerRef.name must be set when certManager.issuerRef is used." }}
{{- end }}
{{- range $key, $value := .Values.member.podLabels }}
{{- if not (and (regexMatch "^[A-Za-z0-9./_-]+$" $key) (regexMatch "^[A-Za-z0-9._-]*$" (toString $value))) }}
{{- fail (printf "member.podLabels: %q: %q is no label." $key (toString $value)) }}
{{- end }}
{{- end }}
{{- if and (include "spillway.places" .) (gt (int .Values.replicaCount) 1) (not .Values.config.leaderElection.enabled) }}
{{- fail "config.leaderElection.enabled must be true when replicaCount is greater than 1: two sets of controllers would work against each other." }}
{{- end }}
{{- end }}
