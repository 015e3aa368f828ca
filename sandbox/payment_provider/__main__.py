"""Start the payment provider: ``python -m sandbox.payment_provider``."""

from __future__ import annotations

from typing import Final

from sandbox.payment_provider.api import create_app
from sandbox.payment_provider.store import PaymentStore
from sandbox.serving import port, required, serve, var_dir

PORT: Final = 8070


def main() -> None:
    """Serve until SIGTERM. The token comes from PAYMENT_PROVIDER_TOKEN, the payments from the loaded shop."""
    token = required("PAYMENT_PROVIDER_TOKEN")
    store = PaymentStore(var_dir("shop") / "payments.parquet")
    serve([(create_app(store, token), port(PORT))], "payment_provider")


if __name__ == "__main__":
    main()
