//! What happens after a push: context, image build, test, push, manifest bump.
