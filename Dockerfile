# The image of the manager: one static binary. "make image" makes the same image where
# there is no container engine.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/spillway:TAG --push .

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY internal internal
COPY webhooks webhooks
ARG TARGETOS TARGETARCH
ARG VERSION=v0.0.0-dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w \
    -X github.com/spillway-project/spillway/internal/version.version=$VERSION \
    -X github.com/spillway-project/spillway/internal/version.commit=$COMMIT" \
    -o /spillway ./cmd/spillway

FROM scratch
COPY --from=build /spillway /spillway
USER 65532:65532
ENTRYPOINT ["/spillway"]
