#!/usr/bin/env python3
"""A client that knows nothing but the address: it learns the API by reflection, and uses it.

    python3 reflection.py HOST:PORT

Needs grpcio, grpcio-reflection and googleapis-common-protos. Prints one line a check; exits 1 at the first that fails.
"""

import sys
import uuid

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SERVICE = "paycore.v1.Payments"


class Payments:
    """Every method of the service as a Python function: fields in, (message, error code) out."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(self.channel).result(timeout=20)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        assert SERVICE in database.get_services(), database.get_services()
        pool = descriptor_pool.DescriptorPool(database)
        self.methods = pool.FindServiceByName(SERVICE).methods_by_name

    def __call__(self, method, **fields):
        described = self.methods[method]
        ask = message_factory.GetMessageClass(described.input_type)
        answer = message_factory.GetMessageClass(described.output_type)
        call = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return call(ask(**fields), timeout=20), None
        except grpc.RpcError as error:
            return None, code_of(error)


def code_of(error):
    """The reason of the one ErrorInfo that every error of ours carries, and the gRPC code."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            infos = [
                error_details_pb2.ErrorInfo.FromString(detail.value)
                for detail in status.details
                if detail.type_url.endswith("google.rpc.ErrorInfo")
            ]
            assert len(infos) == 1, infos
            assert infos[0].domain == "paycore"
            return infos[0].reason, error.code().name
    raise AssertionError(f"an error without details: {error}")


def check(what, is_so, seen):
    print(f"{'ok  ' if is_so else 'FAIL'} {what}: {seen}")
    if not is_so:
        sys.exit(1)


def key():
    return str(uuid.uuid4())


def cny(minor):
    return {"currency_code": "CNY", "units_minor": minor}


def main(address):
    payments = Payments(address)
    opened = []
    for opening in (cny(10_000), None):
        fields = {"opening_balance": opening} if opening else {}
        answer, error = payments("OpenAccount", idempotency_key=key(), currency_code="CNY", **fields)
        check("an account is opened", error is None, error or answer.resource)
        opened.append(answer.resource)
    payer, payee = opened

    def available(name):
        answer, error = payments("GetAccount", name=name)
        check("an account is read", error is None, error or answer.available.units_minor)
        return answer.available.units_minor

    transfer = {"idempotency_key": key(), "debit_account": payer, "credit_account": payee}
    answer, error = payments("Transfer", amount=cny(2_550), **transfer)
    check("a transfer is posted", error is None and not answer.replayed, error or answer.transfer)
    again, error = payments("Transfer", amount=cny(2_550), **transfer)
    same = error is None and again.replayed and again.transfer == answer.transfer
    check("repeated, it is replayed", same, error or again.transfer)
    _, error = payments("Transfer", amount=cny(2_551), **transfer)
    check("changed, its key is refused", error == ("KEY_REUSED", "FAILED_PRECONDITION"), error)
    check("money moved once", (available(payer), available(payee)) == (7_450, 2_550), "7450 and 2550")

    hold, error = payments(
        "PlaceHold",
        idempotency_key=key(),
        debit_account=payer,
        credit_account=payee,
        amount=cny(7_000),
        ttl={"seconds": 3_600},
    )
    check("a hold is placed", error is None, error or hold.resource)
    check("held money is not available", available(payer) == 450, 450)
    _, error = payments(
        "Transfer",
        idempotency_key=key(),
        debit_account=payer,
        credit_account=payee,
        amount=cny(451),
    )
    check("what is not available cannot be paid", error == ("INSUFFICIENT", "FAILED_PRECONDITION"), error)
    answer, error = payments(
        "PostHold", idempotency_key=key(), name=hold.resource, units_minor=1_000, release_rest=True
    )
    check("part of the hold is posted", error is None, error or answer.transfer)
    check("the rest is released", (available(payer), available(payee)) == (6_450, 3_550), "6450 and 3550")
    _, error = payments("GetAccount", name="accounts/acc_" + "0" * 32)
    check("what is not there is not found", error == ("ACCOUNT_NOT_FOUND", "NOT_FOUND"), error)
    _, error = payments("Transfer", amount=cny(-1), **transfer)
    check("a bad field is refused", error is not None and error[1] == "INVALID_ARGUMENT", error)
    print("all of it by reflection alone")


if __name__ == "__main__":
    main(sys.argv[1])
